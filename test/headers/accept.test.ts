import assert from 'node:assert/strict'
import { test } from 'node:test'
import { preferredCoding, preferredType } from '../../src/headers/accept.ts'

const OFFERS = ['text/plain', 'application/json', 'text/html'] as const
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'

for (const [accept, expected] of [
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

const CODINGS = ['zstd', 'br', 'gzip']

for (const [what, lines, chosen] of [
  ['no header: none', [], null],
  ['an empty header: none', [''], null],
  ['the one that is listed', ['gzip'], 'gzip'],
  ['the first of ours among equals', ['gzip, deflate, br, zstd'], 'zstd'],
  ['equals in any order', ['gzip, br'], 'br'],
  ['the highest weight', ['br;q=0.5, gzip;q=0.8, zstd;q=0.7'], 'gzip'],
  ['1.000 is 1', ['br;q=1.000, gzip;q=1'], 'br'],
  ['white space and case do not matter', ['  GZIP ;\tQ = 0.9 ,,\t Br ; q=1.0 '], 'br'],
  ['q=0 excludes', ['gzip;q=0, br;q=0.000'], null],
  ['* is any other', ['*'], 'zstd'],
  ['* with a weight, and one listed above it', ['*;q=0.1, gzip'], 'gzip'],
  ['* excludes what is not listed', ['gzip, *;q=0'], 'gzip'],
  ['one that is excluded from *', ['zstd;q=0, *'], 'br'],
  ['only unknown ones', ['compress, dcb'], null],
  ['identity alone', ['identity'], null],
  ['identity is preferred', ['identity, gzip;q=0.5'], null],
  ['identity among equals', ['identity, gzip'], 'gzip'],
  ['identity is excluded', ['identity;q=0, gzip;q=0.001'], 'gzip'],
  ['nothing is acceptable', ['identity;q=0, *;q=0'], null],
  ['x-gzip is gzip', ['x-gzip'], 'gzip'],
  ['several lines', ['deflate', 'gzip;q=0.5', 'br;q=0.4'], 'gzip'],
  ['a malformed weight accepts nothing', ['br;q=high, zstd;q=2, zstd;q=1.5, gzip;q=0.1'], 'gzip'],
  ['a parameter that is no weight does not count', ['br;level=4'], 'br'],
  ['names of properties', ['constructor, __proto__, toString'], null],
] as const) {
  test(`Accept-Encoding: ${what}`, () => assert.equal(preferredCoding(lines.join(), CODINGS), chosen))
}

test('Accept-Encoding: a long list takes linear time', () => {
  const long = `${'a;q=0.5 ,'.repeat(100_000)}${' '.repeat(100_000)}gzip`
  assert.equal(preferredCoding(long, CODINGS), 'gzip')
})
