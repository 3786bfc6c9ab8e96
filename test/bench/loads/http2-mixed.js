import http2 from 'node:http2'
import { endWithParent } from '../announce.js'
import { tally } from './tally.js'

// On one connection three downloads run without a break, and beside them small requests, one after another. The downloads count, and
// the latencies are those of the small requests.

endWithParent()
const { port, path, seconds } = JSON.parse(process.argv[2])
const DOWNLOADS = 3
const counted = tally()
let downloads = 0
let isOver = false

const session = http2.connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 1 << 20 } })
session.on('connect', () => session.setLocalWindowSize(1 << 24))
session.on('error', () => {})
const begun = performance.now()
for (let count = 0; count < DOWNLOADS; count++) void repeat('/1m', () => downloads++)
void repeat(path, (ms, status) => (status === 200 ? counted.answered(ms) : counted.failed(String(status))))
setTimeout(finish, seconds * 1000)

async function repeat(path, note) {
  while (!isOver) {
    const from = performance.now()
    const status = await get(path)
    if (!isOver) note(performance.now() - from, status)
  }
}

function get(path) {
  return new Promise((resolve) => {
    let status = 0
    session
      .request({ ':path': path })
      .on('response', (head) => {
        status = head[':status']
      })
      .on('error', () => {})
      .on('close', () => resolve(status))
      .resume()
  })
}

function finish() {
  isOver = true
  counted.announce(performance.now() - begun, downloads)
  session.destroy()
}
