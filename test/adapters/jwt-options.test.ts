import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type JwtOptions, jwt } from '../../src/adapters/jwt.ts'
import { CHECKS } from './tokens.ts'

test('wrong options are refused at once', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = publicKey.export({ format: 'jwk' })
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  const secret = 'x'.repeat(32)
  const keys = [jwk]
  const wrong: [unknown, RegExp][] = [
    [undefined, /jwt: the options are missing; give an object/],
    [CHECKS, /jwt: give exactly one of jwksUrl, keys and secret; there is none/],
    [{ ...CHECKS, secret, keys }, /jwt: give exactly one of jwksUrl, keys and secret; there is keys and secret/],
    [
      { audience: 'x', secret },
      /jwt: issuer is missing; give it, such as 'https:\/\/issuer\.example', or false to accept any/,
    ],
    [{ issuer: 'x', secret }, /jwt: audience is missing/],
    [{ ...CHECKS, audience: '', secret }, /jwt: audience is ""/],
    [{ ...CHECKS, audience: [], secret }, /jwt: audience is \[\]/],
    [{ ...CHECKS, issuer: true, secret }, /jwt: issuer is true/],
    [{ ...CHECKS, jwksUrl: 'issuer.example' }, /jwt: jwksUrl is "issuer\.example"; give a URL such as/],
    [{ ...CHECKS, jwksUrl: 'file:///keys.json' }, /jwt: jwksUrl is "file:/],
    [{ ...CHECKS, secret: 'short' }, /jwt: secret has 5 bytes; HS256 needs 32 at least/],
    [{ ...CHECKS, secret, algorithms: ['HS256', 'HS512'] }, /jwt: secret has 32 bytes; HS512 needs 64 at least/],
    [{ ...CHECKS, secret: 7 }, /jwt: secret is neither text nor bytes/],
    [{ ...CHECKS, keys: [] }, /jwt: keys is not a list of public keys with at least one/],
    [{ ...CHECKS, keys: {} }, /jwt: keys is not a list of public keys/],
    [
      { ...CHECKS, keys: [privateKey.export({ format: 'jwk' })] },
      /jwt: keys\[0\]: it is a private key; give the public one/,
    ],
    [
      { ...CHECKS, keys: [jwk, privateKey.export({ type: 'pkcs8', format: 'pem' })] },
      /jwt: keys\[1\]: it is a private key/,
    ],
    [{ ...CHECKS, keys: [{ kty: 'oct', k: 'eHh4' }] }, /jwt: keys\[0\]: it is a secret; use the option secret/],
    [{ ...CHECKS, keys: ['no PEM'] }, /jwt: keys\[0\]: /],
    [{ ...CHECKS, keys: [null] }, /jwt: keys\[0\]: it is null; give PEM or a JSON Web Key/],
    [{ ...CHECKS, keys: [{ kty: 'EC', crv: 'P-256' }] }, /jwt: keys\[0\]: /],
    [
      { ...CHECKS, keys: [short.export({ format: 'jwk' })] },
      /jwt: keys\[0\]: an RSA key of 1024 bits is too short; use 2048/,
    ],
    [{ ...CHECKS, keys, algorithms: ['none'] }, /jwt: algorithms has none; with public keys use RS256/],
    [{ ...CHECKS, keys, algorithms: ['ES256', 'HS256'] }, /jwt: algorithms has HS256; with public keys use RS256/],
    [{ ...CHECKS, secret, algorithms: ['RS256'] }, /jwt: algorithms has RS256; with a secret use HS256, HS384, HS512/],
    [{ ...CHECKS, keys, algorithms: [] }, /jwt: algorithms has no member/],
    [{ ...CHECKS, keys, algorithms: 'ES256' }, /jwt: algorithms is "ES256"; give a list of strings/],
    [{ ...CHECKS, keys, header: 'a b' }, /jwt: header is "a b"; give a name, such as 'Authorization'/],
    [{ ...CHECKS, keys, cookie: 'a=b' }, /jwt: cookie is "a=b"; give a name, such as 'session'/],
    [
      { ...CHECKS, keys, claimsToHeaders: ['sub'] },
      /jwt: claimsToHeaders is \["sub"\]; give the header for each claim/,
    ],
    [{ ...CHECKS, keys, claimsToHeaders: { sub: 7 } }, /jwt: claimsToHeaders is/],
    [
      { ...CHECKS, keys, claimsToHeaders: { sub: 'Host ' } },
      /jwt: claimsToHeaders: .*"Host "; give the name of a header/,
    ],
    [
      { ...CHECKS, keys, claimsToHeaders: { sub: 'Connection' } },
      /jwt: claimsToHeaders: .*"Connection"; give another header: the proxy itself writes this one/,
    ],
    [{ ...CHECKS, keys, requiredClaims: 'exp' }, /jwt: requiredClaims is "exp"; give a list of strings/],
    [{ ...CHECKS, keys, clockToleranceSeconds: -1 }, /jwt: clockToleranceSeconds is -1; give a whole number from 0 on/],
    [{ ...CHECKS, keys, realm: 'a"b' }, /jwt: realm is "a\\"b"; give printable ASCII/],
    [{ ...CHECKS, keys, cacheMs: 1.5 }, /jwt: cacheMs is 1\.5; give a whole number from 0 on/],
    [{ ...CHECKS, keys, maxCached: 0 }, /jwt: maxCached is 0; give a whole number from 1 on/],
    [{ ...CHECKS, keys, jwksMaxAgeMs: 0 }, /jwt: jwksMaxAgeMs is 0/],
    [{ ...CHECKS, keys, jwksMaxStaleMs: -1 }, /jwt: jwksMaxStaleMs is -1/],
    [{ ...CHECKS, keys, jwksTimeoutMs: 0 }, /jwt: jwksTimeoutMs is 0/],
    [{ ...CHECKS, keys, onRefused: 'log' }, /jwt: onRefused is "log"; give a function/],
    [{ ...CHECKS, keys, ignoreExpiry: true }, /jwt: there is no option ignoreExpiry; allowed: issuer, audience/],
  ]
  for (const [options, message] of wrong) {
    assert.throws(
      () => jwt(options as JwtOptions),
      (error: unknown) => error instanceof TypeError && message.test(error.message),
      String(message),
    )
  }
})

test('without jose the error says what to install', () => {
  const path = fileURLToPath(new URL('../../src/adapters/jwt.js', import.meta.url))
  // As if jose were not there; it stays installed for the other tests.
  const code = `
    const Module = require('node:module')
    const resolve = Module._resolveFilename
    Module._resolveFilename = (name, ...more) =>
      resolve.call(Module, name === 'jose' ? 'a-package-that-nobody-has' : name, ...more)
    import(process.argv[1]).then(({ jwt }) => {
      try {
        jwt({ issuer: false, audience: false, secret: 'x'.repeat(32) })
      } catch (error) {
        console.log(error.message)
      }
    })`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code, path], { encoding: 'utf8' })
  assert.equal(stdout, 'jwt: the package jose is not installed; run `npm install jose` (version 5 or later)\n', stderr)
})
