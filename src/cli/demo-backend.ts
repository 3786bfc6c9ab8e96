import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** A small server for the demo. */
export interface DemoBackend {
  readonly id: string
  readonly url: string
  /** Stops listening and ends every connection, as a crash would. */
  stop(): Promise<void>
  /** Listens again, on the same port. */
  start(): Promise<void>
  /** Ends the event streams, which do not end by themselves. */
  endStreams(): void
}

/** How much of a body `/echo` returns. */
const MAX_ECHO_BYTES = 1_048_576

/** Carries out a command to the demo. @returns what to say to the client, and what to do after that. */
export type DemoControl = (command: string, name: string) => { readonly text: string; act?(): void }

/** Starts a backend on a free port that takes `latencyMs` for each response. */
export async function startDemoBackend(id: string, latencyMs: number, control: DemoControl): Promise<DemoBackend> {
  const streams = new Set<ServerResponse>()
  const server = http.createServer((req, res) => {
    respond(req, res).catch(() => res.destroy())
  })

  async function respond(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(`http://demo${req.url}`)
    res.setHeader('x-demo-backend', id)
    const [, command, name] = /^\/(stop|start)\/(\w+)$/.exec(pathname) ?? []
    if (command !== undefined && name !== undefined) return obey(req, res, command, name)
    if (pathname === '/events') return sendEvents(res)
    if (pathname === '/echo') return echo(req, res)
    const slow = Number(searchParams.get('ms') ?? 2000)
    await wait(pathname === '/slow' && slow >= 0 && slow <= 60_000 ? slow : latencyMs)
    const isBrowser = req.headers.accept?.includes('text/html') === true
    if (pathname === '/' && isBrowser) return send(res, 200, 'text/html', page(id))
    if (pathname === '/') return send(res, 200, 'text/plain', `hello from ${id}\n`)
    if (pathname === '/slow') return send(res, 200, 'text/plain', `a slow response from ${id}\n`)
    send(res, 404, 'text/plain', `${id} serves /, /slow?ms=2000, /events, /echo, /stop/NAME and /start/NAME\n`)
  }

  function obey({ method, headers }: IncomingMessage, res: ServerResponse, command: string, name: string): void {
    // Browsers name the page that sends a POST: any page of the web could send one here.
    if (headers.origin !== undefined) return send(res, 403, 'text/plain', 'pages cannot do this: curl -X POST ...\n')
    if (method !== 'POST') return send(res, 405, 'text/plain', 'use POST: curl -X POST ...\n')
    const { text, act } = control(command, name)
    // Only then: it may be this backend that stops.
    if (act !== undefined) res.once('finish', act)
    send(res, 200, 'text/plain', `${text}\n`)
  }

  function sendEvents(res: ServerResponse): void {
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    let count = 0
    const tick = (): void => {
      count += 1
      res.write(`id: ${count}\ndata: ${JSON.stringify({ backend: id, count })}\n\n`)
    }
    tick()
    const timer = setInterval(tick, 1000)
    streams.add(res)
    res.on('close', () => {
      clearInterval(timer)
      streams.delete(res)
    })
  }

  async function echo(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of req as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes <= MAX_ECHO_BYTES) chunks.push(chunk)
    }
    const { method, url, rawHeaders } = req
    const received = { backend: id, method, url, rawHeaders, bytes, body: Buffer.concat(chunks).toString() }
    send(res, 200, 'application/json', `${JSON.stringify(received, null, 2)}\n`)
  }

  async function listen(port: number): Promise<void> {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }

  async function stop(): Promise<void> {
    if (!server.listening) return
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    id,
    url: `http://127.0.0.1:${port}`,
    endStreams() {
      for (const stream of streams) stream.end()
    },
    stop,
    start: () => (server.listening ? Promise.resolve() : listen(port)),
  }
}

function send(res: ServerResponse, status: number, type: string, body: string): void {
  res.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'content-length': Buffer.byteLength(body) })
  res.end(body)
}

function page(id: string): string {
  return `<!doctype html>
<title>heddle demo</title>
<style>body { font: 16px/1.5 system-ui; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }</style>
<h1>Hello from ${id}</h1>
<p>Reload the page: another of the three backends may respond. The stream below stays with the backend that started it.</p>
<pre id="events"></pre>
<script>
  new EventSource('/events').onmessage = ({ data }) => { document.getElementById('events').textContent = data }
</script>
`
}
