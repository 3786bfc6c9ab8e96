import net from 'node:net'
import { announce, endWithParent } from '../announce.js'

// No server even: to show what node takes for a socket.
endWithParent()
const server = net.createServer((socket) => {
  socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')).on('error', () => {})
})
server.listen(0, '127.0.0.1', 4096, () => announce({ port: server.address().port, version: process.version }))
