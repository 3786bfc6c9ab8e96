import assert from 'node:assert/strict'
import { test } from 'node:test'
import { preferredType } from '../../src/headers/accept.ts'

const OFFERS = ['text/plain', 'application/json', 'text/html'] as const
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'

for (const [accept, expected] of [
  [undefined, 'text/plain'],
  ['', 'text/plain'],
  ['*/*', 'text/plain'],
  [BROWSER, 'text/html'],
  ['application/json, text/plain, */*', 'application/json'],
  ['text/plain, application/json', 'text/plain'],
  ['application/json, text/javascript, */*; q=0.01', 'application/json'],
  ['*/*, application/json', 'application/json'],
  ['text/*, application/json', 'application/json'],
  ['*/*, text/*', 'text/plain'],
  ['application/*', 'application/json'],
  ['text/*', 'text/plain'],
  ['text/*;q=0.5, text/html;q=0.6, */*;q=0.1', 'text/html'],
  ['text/plain;q=0, text/*', 'text/html'],
  ['text/html;q=0.5, application/json;q=0.500, text/plain;q=0.499', 'text/html'],
  ['application/json;q=0, */*', 'text/plain'],
  ['TEXT/HTML ; Q=1.000', 'text/html'],
  ['text/html;charset=utf-8;q=0.9, text/plain;q=0.8', 'text/html'],
  ['text/html;q=2, text/plain;q=0.1', 'text/plain'],
  ['text/html;q=, application/json;q=x, text/plain;q=0.001', 'text/plain'],
  ['image/png', 'text/plain'],
  ['*/*;q=0', 'text/plain'],
  ['application/problem+json', 'text/plain'],
  ['*/html', 'text/plain'],
  ['constructor, ,;,=;q', 'text/plain'],
] as const) {
  test(`Accept: ${accept} prefers ${expected}`, () => assert.equal(preferredType(accept, OFFERS), expected))
}

test('a single offer is always preferred', () => {
  assert.equal(preferredType('text/html', ['text/plain']), 'text/plain')
})
