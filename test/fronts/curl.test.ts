import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { type MockHandler, mockBackend } from '../../src/testing/index.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { curl, withoutCurl } from '../support/curl.ts'
import { runInServer, runProxy } from '../support/running-proxy.ts'

const fronts = [
  ['http.createServer(proxy.web)', runInServer],
  [
    'proxy.attach(server)',
    (options: Parameters<typeof runInServer>[0]) =>
      runInServer(options, (proxy) => {
        const server = http.createServer()
        proxy.attach(server)
        return server
      }),
  ],
  ['proxy.listen()', runProxy],
] as const

const big = randomBytes(3 * MIB)

for (const [how, run] of fronts) {
  test(`curl gets through ${how}: GET, HEAD, POST, chunked upload, Expect, HTTP/1.0`, {
    skip: withoutCurl,
  }, async () => {
    const echo: MockHandler = async (request, reply) => {
      if (request.expectsContinue) reply.continue()
      const body = await request.body()
      reply.send({ headers: ['X-Method', request.method], chunks: [body.length > 0 ? body : 'no body'] })
    }
    await using backend = await mockBackend(echo)
    await using front = await run({ target: backend.url })
    const url = `${front.url}/x`

    assert.equal((await curl([url])).stdout.toString(), 'no body')

    const head = await curl(['-I', url])
    assert.equal(head.code, 0)
    assert.match(head.stdout.toString(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*X-Method: HEAD\r\n/)

    assert.equal((await curl(['-d', 'a=1', url])).stdout.toString(), 'a=1')

    const chunked = await curl(['-T', '-', '-X', 'POST', '-H', 'Expect:', url], big)
    assert.equal(chunked.code, 0)
    assert.equal(sha256(chunked.stdout), sha256(big))
    assert.equal(backend.requests.at(-1)?.header('transfer-encoding'), 'chunked')

    const expecting = await curl(['--data-binary', '@-', '-H', 'Expect: 100-continue', '-v', url], big)
    assert.equal(expecting.code, 0)
    assert.equal(sha256(expecting.stdout), sha256(big))
    assert.equal(expecting.stderr.match(/< HTTP\/1\.1 100 Continue/g)?.length, 1)

    const old = await curl(['--http1.0', '-v', url])
    assert.equal(old.code, 0)
    assert.equal(old.stdout.toString(), 'no body')
    assert.doesNotMatch(old.stderr, /< transfer-encoding/i)

    const oldPost = await curl(['--http1.0', '--data-binary', '@-', url], big)
    assert.equal(sha256(oldPost.stdout), sha256(big))
  })
}

test('curl sees a refusal in place of 100 and does not send its body', { skip: withoutCurl }, async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ status: 401, body: 'no' }))
  await using front = await runProxy({ target: backend.url })
  const result = await curl(
    ['--data-binary', '@-', '-H', 'Expect: 100-continue', '-w', '%{http_code} %{size_upload}', front.url],
    big,
  )
  assert.equal(result.stdout.toString(), 'no401 0')
  assert.equal(backend.requests[0]?.bodyBytes.length, 0)
})
