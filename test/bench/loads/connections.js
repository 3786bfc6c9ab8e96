import net from 'node:net'
import { endWithParent } from '../announce.js'
import { tally } from './tally.js'

// New connections at a fixed rate, one request on each, whether or not those before have been answered: wrk cannot do that. The
// time of each counts from when it was due, so that what a stalled proxy holds back counts as well.

const GRACE_MS = 2000

endWithParent()
const { port, path, perSecond, seconds } = JSON.parse(process.argv[2])
const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`
const total = perSecond * seconds
const counted = tally()
const open = new Set()
const start = performance.now()
let begun = 0

const timer = setInterval(() => {
  const due = Math.min(total, Math.floor(((performance.now() - start) * perSecond) / 1000))
  while (begun < due) connect(start + (begun++ * 1000) / perSecond)
  if (begun < total) return
  clearInterval(timer)
  finish(performance.now() - start)
}, 1)

function connect(dueMs) {
  let answer = ''
  const socket = net.connect({ port, host: '127.0.0.1' }, () => socket.write(request))
  open.add(socket)
  socket.setEncoding('latin1')
  socket.on('data', (text) => {
    answer += text
    if (!isWhole(answer)) return
    counted.answered(performance.now() - dueMs)
    // Not all proxies end the connection themselves.
    socket.end()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    open.delete(socket)
    if (!isWhole(answer)) counted.failed(answer === '' ? 'connect' : 'status')
  })
}

/** The backends' answer, which is JSON, plain or in one chunk. */
function isWhole(answer) {
  return answer.startsWith('HTTP/1.1 200 ') && /\}(\r\n0\r\n\r\n)?$/.test(answer)
}

/** What is not answered a while later counts as an error. */
function finish(ms) {
  const deadline = performance.now() + GRACE_MS
  const poll = setInterval(() => {
    if (open.size > 0 && performance.now() < deadline) return
    clearInterval(poll)
    for (const _ of open) counted.failed('timeout')
    counted.announce(ms)
  }, 10)
}
