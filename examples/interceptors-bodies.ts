// Interceptors that change bodies of responses: piece by piece, as a whole, and by compression.
// Run: npm run build && node dist/examples/interceptors-bodies.js
// Try: curl -i http://127.0.0.1:8080/story, or /user, or /table with and without --compressed
import { Transform } from 'node:stream'
import { bufferedBody, compress, createProxy, responseBody } from 'heddle'
import { mockBackend } from 'heddle/testing'

/** Changes text while it streams. */
const shout = responseBody({
  when: ({ headers }) => headers.get('Content-Type') === 'text/plain',
  transform: () =>
    new Transform({
      transform: (chunk, _encoding, done) => done(null, chunk.toString('latin1').toUpperCase()),
    }),
})

/** Removes a field from JSON. */
const withoutPassword = bufferedBody({
  contentTypes: ['application/json'],
  maxBytes: 100_000,
  edit(body, response) {
    const { password, ...user } = JSON.parse(body.toString())
    if (password !== undefined) response.headers.set('Cache-Control', 'private')
    return JSON.stringify(user)
  },
})

const backend = await mockBackend((request, reply) => {
  if (request.path === '/user') {
    const body = JSON.stringify({ name: 'alice', password: 'secret' })
    reply.send({ headers: { 'Content-Type': 'application/json' }, body })
  } else if (request.path === '/table') {
    const rows = Array.from({ length: 100 }, (_, id) => `<tr><td>${id}</td></tr>\n`)
    reply.send({ headers: { 'Content-Type': 'text/html' }, body: rows.join('') })
  } else
    reply.send({ headers: { 'Content-Type': 'text/plain' }, chunks: ['once upon a time\n', 'there was a proxy\n'] })
})
const proxy = createProxy({
  target: backend.url,
  // The first one is outermost: it compresses what the others have made.
  routes: [{ interceptors: [compress(), shout, withoutPassword] }],
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
