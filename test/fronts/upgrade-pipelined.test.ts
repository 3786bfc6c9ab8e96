import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { MIB } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, listening, rounds } from '../support/running-proxy.ts'

const END = 'end of the body'

for (const { name, run } of FRONTS) {
  for (const framing of ['Content-Length', 'chunks'] as const) {
    test(`${name}: a large response (${framing}) comes whole to a client that reads late and has an upgrade behind it`, async () => {
      const body = Buffer.alloc(16 * MIB, 'a')
      const server = http.createServer((_req, res) => {
        if (framing === 'Content-Length') res.setHeader('Content-Length', body.length + END.length)
        res.write(body)
        res.end(END)
      })
      server.on('upgrade', (_req, socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'),
      )
      const port = await listening(server)
      await using front = await run({ target: `http://127.0.0.1:${port}` })
      const client = rawClient(front.port)
      client.socket.pause()
      const begun = new Promise((resolve) => front.proxy.once('response', resolve))
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n')
      await begun
      await rounds(50)
      let size = 0
      let last = ''
      await new Promise<void>((resolve) => {
        client.socket.removeAllListeners('data').on('data', (bytes) => {
          size += bytes.length
          last = (last + bytes.toString('latin1')).slice(-500)
          if (last.includes('101 Switching')) resolve()
        })
        client.socket.resume()
      })
      assert.match(last, /end of the body.*HTTP\/1\.1 101 Switching Protocols/s)
      assert.ok(size > body.length)
      client.socket.destroy()
      server.close()
      server.closeAllConnections()
    })
  }
}
