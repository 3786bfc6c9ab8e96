import { YARDSTICKS } from './subjects.js'

/** GET by wrk over 64 kept-alive connections, to two backends of nginx; `changes` is what is different. */
function scenario(title, changes = {}) {
  return { title, load: 'wrk', path: '/', connections: 64, bodyBytes: 0, figure: 'cpu', unit: 'request', ...changes }
}

/** Who speaks HTTP/2 on the side that a scenario wants it on. */
const SPEAK_HTTP2 = { subjects: ['heddle-listen', 'haproxy', 'nginx', 'caddy'], yardsticks: ['haproxy', 'nginx'] }

/** Requests over HTTP/2 by h2load: `streams` at a time on each connection. */
function overHttp2(title, changes = {}) {
  return scenario(title, { load: 'h2load', isHttp2: true, connections: 8, streams: 16, ...SPEAK_HTTP2, ...changes })
}

/**
 * What is asked of every subject. The names are the arguments of `npm run bench -- NAME...`.
 * - `load`: who asks: wrk, h2load, or a script in loads/. `backend`: who answers, when it is not backends.js.
 * - `isHttp2`: clients speak HTTP/2, with so many `streams` at a time and such `headers`; `isToHttp2`: backends do.
 * - `path`, `connections`, `isTls`; `bodyBytes`: of each posted body, or message; `perSecond`: where the load has a rate.
 * - `meaning`: what it stands for in practice, one sentence, for docs/benchmarks.md.
 * - `figure`: what is compared (figures.js); `unit`: what is counted.
 * - `subjects`: they alone take part; `extra`: they take part as well. `yardsticks`: whom the ratios are to.
 * - `times`: how long and how often it is measured, where that differs: see options.js.
 */
export const SCENARIOS = {
  hello: scenario('GET, a JSON answer of 115 bytes, 64 connections', {
    meaning:
      'Small API responses: nearly all of the cost is per request, so this ratio says how many cores an API gateway needs.',
  }),
  hello512: scenario('GET, a JSON answer of 115 bytes, 512 connections', {
    connections: 512,
    meaning: 'The same from many clients at once: what busy hours cost.',
  }),
  '16k': scenario('GET, an answer of 16 KiB, 64 connections', {
    path: '/16k',
    meaning: 'Web pages and longer API responses: copying begins to count beside the work per request.',
  }),
  '1m': scenario('GET, an answer of 1 MiB, 64 connections', {
    path: '/1m',
    meaning: 'Downloads and images: the kernel copies bytes for most of the time, so proxies differ less.',
  }),
  post16k: scenario('POST of 16 KiB, a small answer, 64 connections', {
    path: '/post',
    bodyBytes: 16_384,
    meaning: 'Forms and uploads: the body goes through the proxy in the other direction.',
  }),
  chunked: scenario('GET, an answer of 16 KiB in chunks of 2 KiB, 64 connections', {
    path: '/chunked',
    meaning:
      'Responses of unknown length, as server-side rendering and event streams send them: each chunk is work of its own.',
  }),
  websocket: scenario('WebSocket, an echo of 64 bytes, 64 connections', {
    load: 'websocket',
    backend: './websocket-backend.js',
    bodyBytes: 64,
    unit: 'message',
    meaning: 'Chats and live updates: after the handshake a proxy passes bytes on, and has little left to save.',
  }),
  connections: scenario('1,000 new connections a second, each for one GET', {
    load: 'connections',
    perSecond: 1000,
    unit: 'connection',
    meaning: 'Clients that do not keep connections, such as scripts, health checks and old load balancers.',
  }),
  idle: scenario('10,000 idle connections, each of which has carried one request', {
    load: 'idle',
    connections: 10_000,
    figure: 'memory',
    unit: 'connection',
    extra: ['node-http', 'node-net'],
    meaning: 'Memory of clients that stay connected and wait: it bounds how many a process can hold.',
  }),
  tls: scenario('GET over TLS 1.3, a JSON answer of 115 bytes, 64 connections', {
    isTls: true,
    meaning: 'The first scenario with TLS to the clients, ended by the proxy: encryption adds the same cost to all.',
  }),
  http2: overHttp2('GET over HTTP/2, a JSON answer of 115 bytes, 8 connections with 16 streams each', {
    meaning: 'Services that ask by HTTP/2 in clear text, for backends that know the older protocol only.',
  }),
  'http2-64': overHttp2('GET over HTTP/2, a JSON answer of 115 bytes, 64 connections with one stream each', {
    connections: 64,
    streams: 1,
    meaning: 'The same from many clients that ask for one thing at a time: nothing is shared between requests.',
  }),
  'http2-tls': overHttp2(
    'GET over HTTP/2 and TLS 1.3, a JSON answer of 115 bytes, 8 connections with 16 streams each',
    {
      isTls: true,
      meaning: 'What browsers do: HTTP/2 exists for them over TLS only.',
    },
  ),
  'http2-mixed': overHttp2(
    'GET over HTTP/2, small answers one at a time beside three downloads on the same connection',
    {
      load: 'http2-mixed',
      connections: 1,
      streams: 4,
      unit: 'download',
      meaning:
        'A page that loads its data beside large files: CPU time is per MiB, and the percentiles say how long a small answer waits behind large ones.',
    },
  ),
  'http2-backends': scenario('GET, a JSON answer of 115 bytes, 64 connections, to backends that speak HTTP/2', {
    ...SPEAK_HTTP2,
    subjects: ['heddle-listen', 'haproxy', 'caddy'],
    yardsticks: ['haproxy'],
    isToHttp2: true,
    meaning: 'Services that speak HTTP/2, for clients that do not: many requests share a connection.',
  }),
  grpc: overHttp2('gRPC, unary calls with 64 bytes each way, 64 at a time on one connection', {
    backend: './grpc-backend.js',
    isToHttp2: true,
    path: '/bench.Echo/Unary',
    headers: ['content-type: application/grpc', 'te: trailers'],
    bodyBytes: 64,
    connections: 1,
    streams: 64,
    unit: 'call',
    meaning: 'Services that call each other: HTTP/2 on both sides, and a status after each body.',
  }),
  handshakes: scenario('full handshakes of TLS 1.3, one after another, each with one GET', {
    load: 'handshakes',
    isTls: true,
    unit: 'handshake',
    subjects: ['heddle-listen', 'haproxy', 'nginx', 'caddy'],
    yardsticks: ['haproxy', 'nginx'],
    meaning: 'Clients that come for the first time: what TLS costs before anything is sent.',
  }),
  'handshakes-resumed': scenario('resumed handshakes of TLS 1.3, one after another, each with one GET', {
    load: 'handshakes',
    isTls: true,
    isResumed: true,
    unit: 'handshake',
    subjects: ['heddle-listen', 'haproxy', 'nginx', 'caddy'],
    yardsticks: ['haproxy', 'nginx'],
    meaning: 'Clients that come again, with a ticket of the last time.',
  }),
  threads: scenario('GET, a JSON answer of 115 bytes, 64 connections, over one and over two threads', {
    subjects: ['heddle-1-thread', 'heddle-2-threads', 'haproxy', 'haproxy-2-threads'],
    yardsticks: ['heddle-1-thread', 'haproxy'],
    meaning: 'What a second thread costs for each request: near 1, two threads serve twice the load on two free cores.',
    // A difference of a few per cent is asked for, and processes differ by as much from one start to the next. The warm-up
    // lasts until V8 has let the young generation of both threads grow, which takes each of two twice as long as one alone:
    // before, they collect it twice as often (17 seconds of this load, by --trace-gc; one thread: 4).
    times: { seconds: 1, warmUpSeconds: 24, rounds: 6, starts: 5 },
  }),
}

export const DEFAULT_SCENARIOS = ['hello', 'post16k', '16k']

/** The subjects that take part: of the `chosen`, those that can. */
export function subjectsIn(name, chosen, all) {
  const { subjects, extra = [] } = SCENARIOS[name]
  if (subjects !== undefined) return all.filter(({ file }) => subjects.includes(file))
  const able = chosen.filter(({ cannot }) => !cannot?.includes(name))
  return [...able, ...all.filter((subject) => extra.includes(subject.file) && !able.includes(subject))]
}

export const yardsticksOf = (name) => SCENARIOS[name].yardsticks ?? YARDSTICKS
