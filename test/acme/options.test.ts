import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { resolveAcmeOptions } from '../../src/acme/options.ts'
import { type AcmeOptions, OptionsError } from '../../src/index.ts'
import { certificate, key } from '../support/certificates.ts'

const LEAST = { names: ['a.example'], agreeToTerms: true }

test('the defaults', () => {
  assert.deepEqual(resolveAcmeOptions(LEAST), {
    names: ['a.example'],
    email: null,
    folder: resolve('acme'),
    directory: 'https://acme-v02.api.letsencrypt.org/directory',
    challenge: 'tls-alpn-01',
    eab: null,
    ca: null,
  })
})

test('names are written as clients ask for them; directories have names', () => {
  const options = {
    ...LEAST,
    names: ['A.Example', 'bücher.example'],
    directory: 'letsencrypt-staging',
    ca: certificate,
  }
  const { names, directory, ca } = resolveAcmeOptions(options)
  assert.deepEqual(names, ['a.example', 'xn--bcher-kva.example'])
  assert.equal(directory, 'https://acme-staging-v02.api.letsencrypt.org/directory')
  assert.equal(ca, certificate)
})

const WRONG: readonly (readonly [object, RegExp])[] = [
  [[], /^ {2}acme is an empty list$/m],
  [{ agreeToTerms: true }, /acme\.names is missing/],
  [{ ...LEAST, names: [] }, /acme\.names is an empty list/],
  [{ names: ['a.example'] }, /acme\.agreeToTerms is missing\n.*terms .*letsencrypt\.org/],
  [{ ...LEAST, agreeToTerms: false }, /acme\.agreeToTerms is false/],
  [
    { ...LEAST, names: ['a.example', '*.a.example'] },
    /acme\.names\[1\] is a wildcard, which needs the challenge dns-01.*not supported/,
  ],
  [{ ...LEAST, names: ['127.0.0.1'] }, /acme\.names\[0\] is an address/],
  [{ ...LEAST, names: ['[::1]'] }, /acme\.names\[0\] is an address/],
  [{ ...LEAST, names: ['a.example', 'A.EXAMPLE'] }, /acme\.names\[1\] is there twice: 'A\.EXAMPLE'/],
  ...[
    '',
    'a b.example',
    'a..example',
    '-a.example',
    'a-.example',
    'a.example.',
    'a.example/b',
    'a/../b',
    `${'a'.repeat(64)}.b`,
    7,
  ].map((name) => [{ ...LEAST, names: [name] }, /acme\.names\[0\] is no host name/] as const),
  [{ ...LEAST, email: 'admin' }, /acme\.email is 'admin'/],
  [{ ...LEAST, email: 'a@b.example,c@d.example' }, /acme\.email/],
  [{ ...LEAST, folder: '' }, /acme\.folder is ''/],
  [{ ...LEAST, directory: 'letsencrypted' }, /acme\.directory is 'letsencrypted'/],
  [{ ...LEAST, directory: 'http://127.0.0.1/dir' }, /acme\.directory .*\n.*an https URL/],
  [{ ...LEAST, directory: 7 }, /acme\.directory is 7/],
  [{ ...LEAST, challenge: 'dns-01' }, /acme\.challenge is 'dns-01', which is not supported/],
  [{ ...LEAST, challenge: 'http' }, /acme\.challenge is 'http'\n/],
  [{ ...LEAST, eab: { keyId: 'kid' } }, /acme\.eab is an object/],
  [{ ...LEAST, eab: { keyId: 'kid', hmacKey: 'no base64!' } }, /acme\.eab/],
  [{ ...LEAST, eab: { keyId: 'kid', hmacKey: 'abcd', more: 1 } }, /acme\.eab/],
  [{ ...LEAST, ca: 'nowhere.pem' }, /acme\.ca names a file that does not exist/],
  [{ ...LEAST, ca: 7 }, /acme\.ca is 7/],
  [{ ...LEAST, staging: true }, /acme\.staging is unknown/],
  [{ ...LEAST, nmaes: [] }, /acme\.nmaes is unknown; did you mean names\?/],
]

for (const [options, message] of WRONG) {
  test(`refused: ${JSON.stringify(options).slice(0, 80)}`, () => {
    assert.throws(
      () => resolveAcmeOptions(options as AcmeOptions),
      (error: unknown) => error instanceof OptionsError && message.test(error.message),
    )
  })
}

test('all mistakes are said at once, and no secret', () => {
  assert.throws(
    () => resolveAcmeOptions({ names: ['*.a'], folder: '', ca: key, eab: { keyId: '', hmacKey: 'geheim' } } as never),
    (error: OptionsError) => {
      assert.equal(error.faults.length, 5)
      assert.doesNotMatch(error.message, /geheim|BEGIN/)
      return true
    },
  )
})

test('without acme-client the error says what to install', () => {
  const path = fileURLToPath(new URL('../../src/acme/index.js', import.meta.url))
  // As if it were not there; it stays installed for the other tests.
  const code = `
    const Module = require('node:module')
    const resolve = Module._resolveFilename
    Module._resolveFilename = (name, ...more) =>
      resolve.call(Module, name === 'acme-client' ? 'a-package-that-nobody-has' : name, ...more)
    import(process.argv[1]).then(({ acme }) => {
      try {
        acme({ names: ['a.example'], agreeToTerms: true })
      } catch (error) {
        console.log(error.message)
      }
    })`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code, path], { encoding: 'utf8' })
  const expected = 'acme: the package acme-client is not installed; run `npm install acme-client` (version 5.4)\n'
  assert.equal(stdout, expected, stderr)
})
