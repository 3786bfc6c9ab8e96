import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import type { ProxyOptions } from '../../src/index.ts'
import { deadPort } from '../../src/testing/mock-backend.ts'
import { type RunningProxy, rounds, runInServer } from '../support/running-proxy.ts'
import { registerCallbacks, send, unhandled, WAYS } from './callbacks.ts'

registerCallbacks({ name: 'proxy.web', run: webAndWs })

/** An application's own server that calls `proxy.web` and `proxy.ws`. */
function webAndWs(options: ProxyOptions): Promise<RunningProxy> {
  return runInServer(options, (proxy) => http.createServer(proxy.web).on('upgrade', proxy.ws))
}

for (const [way, bad] of Object.entries(WAYS)) {
  for (const isAnswered of [false, true]) {
    test(`onError ${way}, ${isAnswered ? 'after' : 'without'} a response`, async () => {
      const { url } = await deadPort()
      {
        await using front = await runInServer({ target: url }, (proxy) =>
          http.createServer((req, res) =>
            proxy.web(req, res, {
              onError() {
                if (isAnswered) res.writeHead(502, { 'Content-Length': 4 }).end('ours')
                return bad()
              },
            }),
          ),
        )
        const client = send(front.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        client.socket.resume()
        // What returns has done its work, as far as anybody can know.
        if (isAnswered) assert.match(await client.outcome, /^HTTP\/1\.1 502 [\s\S]*ours$/)
        else if (way !== 'returns nonsense')
          assert.match(await client.outcome, /^HTTP\/1\.1 502 [\s\S]*ERR_PROXY_CONNECT/)
        assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
        client.socket.destroy()
      }
      await rounds()
      assert.deepEqual(unhandled.splice(0), [])
    })
  }
}
