/**
 * Who is measured. `file` is the script in subjects/; `tool` the program it needs; `isPeer`: it needs the packages of
 * test/bench; `isOurs` makes its errors fail the run; `isExtra` leaves it out unless it is asked for by name or with `all`;
 * `isSpecial` unless a scenario or `--subjects` names it; `cannot` names scenarios.
 */
export const SUBJECTS = [
  { file: 'http-proxy-3', title: 'http-proxy-3 with a keep-alive agent', isPeer: true },
  { file: 'heddle', title: 'heddle, `proxy.web` in node:http', isOurs: true },
  { file: 'heddle-listen', title: 'heddle, `proxy.listen`', isOurs: true },
  { file: 'heddle-all', title: 'heddle, `proxy.listen`, log, health, retries, events', isOurs: true },
  { file: 'heddle-1-thread', title: 'heddle, `proxy.listen`, 1 thread', isOurs: true, isSpecial: true },
  { file: 'heddle-2-threads', title: 'heddle, `proxy.listen`, 2 threads', isOurs: true, isExtra: true },
  {
    file: 'http-proxy-3-listeners',
    title: 'http-proxy-3 with a keep-alive agent, listeners to `proxyReq` and `proxyRes`',
    isPeer: true,
    isExtra: true,
    cannot: ['websocket'],
  },
  {
    file: 'heddle-http-proxy',
    title: '`heddle/http-proxy`, listeners to `proxyReq` and `proxyRes`',
    isOurs: true,
    isExtra: true,
    cannot: ['websocket'],
  },
  { file: 'fast-proxy', title: 'fast-proxy with undici', isPeer: true, cannot: ['websocket'] },
  { file: 'fastify-http-proxy', title: '@fastify/http-proxy', isPeer: true, isExtra: true },
  { file: 'httpxy', title: 'httpxy with a keep-alive agent', isPeer: true, isExtra: true },
  { file: 'haproxy', title: 'HAProxy, 1 thread', tool: 'haproxy' },
  { file: 'haproxy-2-threads', title: 'HAProxy, 2 threads', tool: 'haproxy', isSpecial: true },
  { file: 'nginx', title: 'nginx, 1 worker', tool: 'nginx' },
  { file: 'caddy', title: 'Caddy, GOMAXPROCS=1', tool: 'caddy', isExtra: true },
  { file: 'node-http', title: 'node:http, answering by itself', isSpecial: true },
  { file: 'node-net', title: 'node:net, answering by itself', isSpecial: true },
]

/** Every figure is also given as a ratio to theirs. */
export const YARDSTICKS = ['http-proxy-3', 'haproxy']
