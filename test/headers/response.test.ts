import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ResponseShape, responseHeaders } from '../../src/headers/response.ts'

const SHAPE: ResponseShape = { bodyBytes: -1, isBodiless: false, takesTrailers: true, via: '' }

test('hop-by-hop and proxy headers of a backend are not passed on', () => {
  const raw = [
    ...['Proxy-Authenticate', 'Basic', 'Proxy-Authentication-Info', 'x', 'Proxy-Authorization', 'x'],
    ...['HTTP2-Settings', 'x', 'TE', 'trailers', 'Keep-Alive', 'x', 'Proxy-Connection', 'x', 'Upgrade', 'h2c'],
    ...['Transfer-Encoding', 'chunked', 'Connection', 'Keep-Alive', 'Trailer', 'X-Sum', 'X-Forwarded-For', '1'],
  ]
  assert.deepEqual(responseHeaders(raw, SHAPE), ['Trailer', 'X-Sum', 'X-Forwarded-For', '1'])
})

test('a backend cannot remove the Via of others', () => {
  const raw = ['Via', '1.1 inner', 'X-Hop', '1', 'Connection', 'Via, X-Hop']
  assert.deepEqual(responseHeaders(raw, { ...SHAPE, via: 'me' }), ['Via', '1.1 inner', 'Via', '1.1 me'])
})

test('look-alikes of framing names are passed on to clients', () => {
  const raw = ['Content_Length', '5', 'Transfer_Encoding', 'chunked', 'X_Forwarded_For', '1']
  assert.deepEqual(responseHeaders(raw, SHAPE), raw)
})
