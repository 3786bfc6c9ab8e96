// A module that never serves: `?live` keeps its thread alive all the same, `?throwing` too and throws, `?listening` gives a
// server that listens by itself.
import { once } from 'node:events'
import http from 'node:http'

const { searchParams } = new URL(import.meta.url)
const server = http.createServer()
if (searchParams.has('live') || searchParams.has('throwing')) setInterval(() => {}, 1e6)
if (searchParams.has('throwing')) throw new Error('not today')
if (searchParams.has('listening')) await once(server.listen(0, '127.0.0.1'), 'listening')
else await new Promise(() => {})

export default server
