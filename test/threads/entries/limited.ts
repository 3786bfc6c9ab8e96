// Threads up to the number `?limit=` serve, later ones cannot start. At /stuck they answer that they are, and nothing more.
import http from 'node:http'
import { workerData } from 'node:worker_threads'

const { thread } = workerData.heddle
if (thread > Number(new URL(import.meta.url).searchParams.get('limit'))) throw new Error(`thread ${thread} is too many`)

export default () =>
  http.createServer((req, res) => {
    if (req.url === '/exit') process.exit(1)
    if (req.url === '/stuck') {
      req.socket.write('stuck')
      for (;;);
    }
    res.end(String(thread))
  })
