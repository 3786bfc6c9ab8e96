import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { WebSocket, WebSocketServer } from 'ws'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

test('the command carries a WebSocket, and closes it with 1001 when it is told to end', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  server.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  const { port } = server.address() as import('node:net').AddressInfo
  const child = spawn(process.execPath, [MAIN, '--listen', '127.0.0.1:0', '--backend', `http://127.0.0.1:${port}`])
  try {
    let url: string | undefined
    let text = ''
    for await (const bytes of child.stderr) {
      text += bytes
      url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0]
      if (url !== undefined && !url.endsWith(`:${port}`)) break
    }
    const client = new WebSocket(String(url).replace('http', 'ws'))
    await once(client, 'open')
    client.send('hello')
    const [data] = await once(client, 'message')
    assert.equal(String(data), 'hello')
    const closed = once(client, 'close')
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    assert.equal((await closed)[0], 1001)
    assert.deepEqual(await exited, [0, null])
  } finally {
    child.kill('SIGKILL')
    server.close()
  }
})
