import { once } from 'node:events'
import WebSocket from 'ws'
import { endWithParent } from '../announce.js'
import { tally } from './tally.js'

// Echoes: on each connection a message goes out when the one before has come back.

endWithParent()
const { port, path, connections, bodyBytes, seconds } = JSON.parse(process.argv[2])
const message = Buffer.alloc(bodyBytes, 'x')
const counted = tally()
let isOver = false

const sockets = []
for (let count = 0; count < connections; count++) sockets.push(await connect())
const begun = performance.now()
for (const socket of sockets) echo(socket)
setTimeout(finish, seconds * 1000)

async function connect() {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { perMessageDeflate: false })
  await once(socket, 'open')
  return socket
}

function echo(socket) {
  let sent = performance.now()
  socket.on('message', (data) => {
    if (isOver) return
    if (!message.equals(data)) return counted.failed('wrong')
    const now = performance.now()
    counted.answered(now - sent)
    sent = now
    socket.send(message)
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    if (!isOver) counted.failed('close')
  })
  socket.send(message)
}

function finish() {
  isOver = true
  counted.announce(performance.now() - begun)
  for (const socket of sockets) socket.terminate()
}
