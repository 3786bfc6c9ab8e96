// Express in several threads: each thread runs a module (server.ts), because functions cannot be sent to threads.
// Run: npm run build && node dist/examples/threads-with-express/main.js
// Try: for i in 1 2 3 4; do curl -i http://127.0.0.1:8080/api/users; done
import { serveModule } from 'heddle'
import { mockBackend } from 'heddle/testing'

const backend = await mockBackend() // responds with the method and path of the request
process.env.BACKEND = backend.url // threads start with a copy of the environment

const running = await serveModule(new URL('./server.js', import.meta.url), {
  listen: { port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' },
  threads: 2,
  observer: {
    onThread: ({ thread, what, reason }) => console.log(`thread ${thread} ${what} (${reason})`),
  },
})
console.log(`listening on ${running.address.url}`)

async function stop(): Promise<void> {
  await running.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
