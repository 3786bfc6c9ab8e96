import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Interceptor, respond } from '../../src/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2 } from '../support/running-proxy.ts'

/** Responds without reading the body: at once, or in a later turn. */
const refuse = (isLater: boolean): Interceptor => ({
  name: 'refuse',
  wrap: () => (exchange, _request, _body, sink) => {
    const send = (): void => respond(sink, { status: 403, body: exchange.target })
    if (isLater) setImmediate(send)
    else send()
  },
})

for (const { name, run, isOurs } of ALL_FRONTS) {
  for (const isLater of [false, true]) {
    const when = isLater ? 'later' : 'at once'

    // Node's parser does not know of the bytes after a head until the request has been handled.
    const skip = !isOurs && !isLater
    test(`${name}: a response ${when} keeps the connection if the request's body has arrived`, { skip }, async () => {
      await using front = await run({ target: 'http://127.0.0.1:1', routes: [{ interceptors: [refuse(isLater)] }] })
      const client = rawClient(front.port)
      // The next request comes with it, and must not be taken for its body.
      const post = (path: string) => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`
      client.write(post('/first') + post('/second'))
      await client.until('/second')
      assert.doesNotMatch(client.text, /connection: close/i)
      client.write('GET /third HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      assert.equal(await client.ended, 'end')
      assert.match(client.text, /403 .*\/first.*403 .*\/second.*403 .*\/third$/s)
    })

    test(`${name}: a response ${when} ends the connection if the client still uploads`, {
      skip: inHttp2(name, 'the stream ends, the connection stays'),
    }, async () => {
      await using front = await run({ target: 'http://127.0.0.1:1', routes: [{ interceptors: [refuse(isLater)] }] })
      const client = rawClient(front.port)
      client.write('POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello')
      await client.until('/first')
      assert.match(client.text, /connection: close/i)
    })
  }
}
