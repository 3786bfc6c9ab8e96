// A server that dies when it is asked to, and else proxies to `?backend=`. Its probes name the thread as their host.
import http from 'node:http'
import { workerData } from 'node:worker_threads'
import { createProxy } from '../../../src/index.ts'

const proxy = createProxy({
  logger: 'silent',
  target: new URL(import.meta.url).searchParams.get('backend') ?? 'http://127.0.0.1:1',
  accessLog: 'json',
  healthCheck: { probe: { path: '/probe', host: `thread-${workerData.heddle.thread}`, intervalMs: 1e6 } },
})

const hoard: unknown[] = []

function answer(req: http.IncomingMessage, res: http.ServerResponse): void {
  if (req.url === '/throw') {
    setTimeout(() => {
      throw new RangeError('not in a request')
    })
  } else if (req.url === '/exit') {
    process.exit(3)
  } else if (req.url === '/grow') {
    for (;;) hoard.push(Array.from({ length: 10_000 }, (_, i) => ({ i })))
  } else if (req.url === '/who') {
    res.end(String(workerData.heddle.thread))
  } else {
    proxy.web(req, res)
  }
}

export default http.createServer(answer).on('upgrade', proxy.ws)
