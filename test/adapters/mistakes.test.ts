import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import express from 'express'
import fastify from 'fastify'
import Koa from 'koa'
import * as ofExpress from '../../src/adapters/express.ts'
import { proxyPlugin as ofFastify } from '../../src/adapters/fastify.ts'
import * as ofHono from '../../src/adapters/hono.ts'
import * as ofKoa from '../../src/adapters/koa.ts'
import { proxyPlugin as ofVite } from '../../src/adapters/vite.ts'
import { createProxy, handleUpgrades } from '../../src/index.ts'

const URL_OF_TARGET = 'http://127.0.0.1:3001'
const withOneFault = { code: 'ERR_PROXY_OPTIONS', message: /^One option is wrong:\n {2}the options object is / }

for (const [name, make] of [
  ['Express', ofExpress.proxyMiddleware],
  ['Koa', ofKoa.proxyMiddleware],
  ['Hono', ofHono.proxyMiddleware],
  ['Vite', ofVite],
] as const) {
  test(`${name}: a URL, a list or null in place of the options is one mistake`, () => {
    for (const wrong of [URL_OF_TARGET, [URL_OF_TARGET], null]) assert.throws(() => make(wrong as never), withOneFault)
  })
}

test('Fastify: a URL in place of the options is one mistake', async () => {
  await assert.rejects(async () => ofFastify(fastify(), URL_OF_TARGET as never), withOneFault)
})

test('no options are those of a proxy without backends', async () => {
  const { proxy } = ofExpress.proxyMiddleware(undefined as never)
  assert.deepEqual(proxy.stats().groups[0]?.backends, [])
  await proxy.close()
})

test('upgrades of something that is not a server are refused at once', async () => {
  await using proxy = createProxy({ target: URL_OF_TARGET })
  for (const [server, what] of [
    [express(), 'a function'],
    [new Koa(), 'another object'],
    [undefined, 'undefined'],
    [null, 'null'],
  ] as const) {
    const message = (caller: string) =>
      new RegExp(`^${caller}: the server is ${what}; give one of node:http, such as that which app.listen`)
    assert.throws(() => handleUpgrades(server as never, () => {}), {
      name: 'TypeError',
      message: message('handleUpgrades'),
    })
    assert.throws(() => proxy.attach(server as never), { name: 'TypeError', message: message('attach') })
  }
})

test('an application that is not a function is refused at once, and does not end the process later', () => {
  const message =
    /^handleUpgrades: the application is another object; give a function \(req, res\): .*app.callback\(\) of Koa/
  assert.throws(() => handleUpgrades(http.createServer(), new Koa() as never), { name: 'TypeError', message })
})
