import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { runInServer } from '../support/running-proxy.ts'

type Application = (res: http.ServerResponse) => void

/** As on-headers does it. */
const wrapHead: Application = (res) => {
  const writeHead = res.writeHead as (...args: unknown[]) => http.ServerResponse
  res.writeHead = ((...args: unknown[]) => writeHead.apply(res, args)) as never
}

for (const [name, wrap] of [
  ['', () => {}],
  [', where writeHead is wrapped', wrapHead],
] as const) {
  async function exchange(application: Application, headers: readonly string[]): Promise<Response> {
    await using backend = await mockBackend({ headers: [...headers], body: 'x' })
    await using front = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer((req, res) => {
        wrap(res)
        application(res)
        proxy.web(req, res)
      }),
    )
    return await fetch(front.url)
  }

  test(`cookies of the application and of the backend both reach the client${name}`, async () => {
    const backends = ['Set-Cookie', 'web=1; Path=/', 'set-cookie', 'more=2']
    const one = await exchange((res) => res.setHeader('Set-Cookie', 'session=abc; HttpOnly'), backends)
    assert.deepEqual(one.headers.getSetCookie(), ['session=abc; HttpOnly', 'web=1; Path=/', 'more=2'])
    const several = await exchange((res) => {
      res.setHeader('set-cookie', ['a=1', 'b=2'])
      res.appendHeader('Set-Cookie', 'c=3')
    }, backends)
    assert.deepEqual(several.headers.getSetCookie(), ['a=1', 'b=2', 'c=3', 'web=1; Path=/', 'more=2'])
    const alone = await exchange((res) => res.setHeader('Set-Cookie', 'a=1'), [])
    assert.deepEqual(alone.headers.getSetCookie(), ['a=1'])
  })

  for (const [application, backend, merged] of [
    [['Origin'], ['Accept'], 'Origin, Accept'],
    [['Origin, accept'], ['Accept', 'Accept-Encoding, ORIGIN'], 'Origin, accept, Accept-Encoding'],
    [['Origin', 'Cookie'], ['Accept'], 'Origin, Cookie, Accept'],
    [['Origin'], ['*'], '*'],
    [['*'], ['Accept'], '*'],
    [['Origin'], [], 'Origin'],
    [[], ['Accept', 'Origin'], 'Accept, Origin'],
  ] as const) {
    test(`Vary: ${application.join(' + ')} and ${backend.join(' + ')} is ${merged}${name}`, async () => {
      const response = await exchange(
        (res) => {
          if (application.length > 0) res.setHeader('Vary', [...application])
        },
        backend.flatMap((value) => ['Vary', value]),
      )
      assert.equal(response.headers.get('vary'), merged)
    })
  }

  test(`of other headers the backend's replace the application's${name}`, async () => {
    const response = await exchange(
      (res) => {
        res.setHeader('X-Both', 'application')
        res.setHeader('X-Own', 'application')
      },
      ['X-Both', 'backend'],
    )
    assert.deepEqual([response.headers.get('x-both'), response.headers.get('x-own')], ['backend', 'application'])
  })

  test(`our own responses keep what the application has set${name}`, async () => {
    const { url } = await deadPort()
    await using front = await runInServer({ target: url, retry: false }, (proxy) =>
      http.createServer((req, res) => {
        wrap(res)
        res.setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('Vary', 'Origin')
        proxy.web(req, res)
      }),
    )
    const response = await fetch(front.url)
    assert.equal(response.status, 502)
    assert.deepEqual([response.headers.getSetCookie(), response.headers.get('vary')], [['a=1', 'b=2'], 'Origin'])
  })
}
