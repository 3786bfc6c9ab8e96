import http2 from 'node:http2'
import { announce, endWithParent } from './announce.js'

// A gRPC service that sends each message back: POST, an answer with the same body, and trailers with a status.

endWithParent()
const server = http2.createServer()
server.on('stream', (stream) => {
  const chunks = []
  stream.on('data', (chunk) => chunks.push(chunk))
  stream.on('error', () => {})
  stream.on('end', () => {
    // The load ends in the middle of its calls.
    if (stream.destroyed) return
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(Buffer.concat(chunks))
  })
})
server.on('sessionError', () => {})
server.listen(0, '127.0.0.1', 4096, () => {
  announce({ port: server.address().port, version: `node:http2 ${process.version}` })
})
