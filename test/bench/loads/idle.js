import { readFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { announce, endWithParent } from '../announce.js'

// Opens connections, has each carry one request, and then keeps them all open and idle until its parent ends it.

const AT_ONCE = 64
const SETTLE_MS = 1000
/** File descriptors that are needed for other things, here and in the subject. */
const SPARE_FILES = 500

endWithParent()
const { port, path, connections } = JSON.parse(process.argv[2])
const limit = Number(/^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? Infinity)
if (connections + SPARE_FILES > limit) {
  throw new Error(`${connections} connections need ulimit -n ${connections + SPARE_FILES}; it is ${limit}`)
}

const errors = {}
const fail = (kind) => (errors[kind] = (errors[kind] ?? 0) + 1)
let begun = 0
await Promise.all(Array.from({ length: AT_ONCE }, openInTurn))
await sleep(SETTLE_MS)
announce({ errors })

async function openInTurn() {
  while (begun++ < connections) await open().catch(({ code }) => fail(code))
}

/** One agent for each connection, so that none is used twice. */
function open() {
  const agent = new http.Agent({ keepAlive: true })
  return new Promise((resolve, reject) => {
    const request = http.get({ port, host: '127.0.0.1', path, agent }, (response) => {
      if (response.statusCode !== 200) fail('status')
      response.on('end', resolve).on('error', reject).resume()
    })
    request.on('error', reject)
    request.on('socket', (socket) => socket.once('close', () => fail('close')))
  })
}
