import { WebSocketServer } from 'ws'
import { announce, endWithParent } from './announce.js'
import { versionOf } from './version.js'

// Sends every message back.

endWithParent()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  socket.on('error', () => {})
})
server.on('listening', () => announce({ port: server.address().port, version: `ws ${versionOf('ws')}` }))
