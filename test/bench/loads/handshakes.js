import { once } from 'node:events'
import tls from 'node:tls'
import { endWithParent } from '../announce.js'
import { tally } from './tally.js'

// One connection after another: a handshake, a GET, and the end. The tickets of TLS 1.3 come after the handshake, with the response.

endWithParent()
const { port, path, seconds, isResumed = false } = JSON.parse(process.argv[2])
const counted = tally()
const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
let session = isResumed ? await visit(undefined).then((visited) => visited.ticket) : undefined

const begun = performance.now()
while (performance.now() - begun < seconds * 1000) {
  const { ms, wasReused, ticket } = await visit(session)
  if (wasReused !== isResumed) counted.failed(isResumed ? 'full' : 'resumed')
  else counted.answered(ms)
  if (isResumed) session = ticket ?? session
}
counted.announce(performance.now() - begun)

async function visit(session) {
  const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false, session })
  let ticket
  socket.on('session', (given) => {
    ticket = given
  })
  const from = performance.now()
  await once(socket, 'secureConnect')
  const ms = performance.now() - from
  const wasReused = socket.isSessionReused()
  socket.write(request)
  socket.resume()
  await once(socket, 'close')
  return { ms, wasReused, ticket }
}
