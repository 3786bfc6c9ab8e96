import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingLogger } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { runSocketServer } from '../support/running-socket-server.ts'

test('a connection that cannot be accepted is told, as often as it happens, and the next one is served', async () => {
  const logger = recordingLogger()
  await using run = await runSocketServer({ target: 'http://127.0.0.1:1', logger })
  for (let i = 0; i < 2; i++) run.server.emit('error', Object.assign(new Error('accept ENOBUFS'), { code: 'ENOBUFS' }))
  assert.deepEqual(logger.messages('warn'), Array(2).fill('a connection could not be accepted: accept ENOBUFS'))
  const client = rawClient(run.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.until('502 Bad Gateway')
})
