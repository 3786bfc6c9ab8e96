// Fastify: a plugin with a prefix, behind a hook of the application's; WebSocket too. Its lines are in Fastify's log.
// Run: npm run build && node dist/examples/fastify.js
// Try: curl -i http://127.0.0.1:8080/ http://127.0.0.1:8080/api/users; curl -H 'Authorization: secret' http://127.0.0.1:8080/api/users
import Fastify from 'fastify'
import { proxyPlugin } from 'heddle/fastify'
import { mockBackend } from 'heddle/testing'

const backend = await mockBackend() // responds with the method and path of the request

const app = Fastify({ logger: { level: 'warn' } })
app.get('/', async () => 'the application\n')
app.register(proxyPlugin, {
  prefix: '/api', // the backend sees /users, not /api/users
  target: backend.url,
  websocket: true, // WebSockets pass the hooks, too
  preHandler: async (request, reply) => {
    if (request.headers.authorization !== 'secret') return reply.code(401).send({ error: 'a key, please' })
  },
})

const url = await app.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await app.close() // closes the proxy, too
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
