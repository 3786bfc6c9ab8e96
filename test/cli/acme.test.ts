import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { directory, run } from './command.ts'

/** What `heddle check` says of a listener with this ACME. */
async function check(t: TestContext, acme: unknown, others: readonly object[] = [], tls: object = {}) {
  const listen = [{ port: 8443, tls: { acme, ...tls } }, ...others]
  const cwd = directory(t, {
    'heddle.config.json': JSON.stringify({ backends: ['http://127.0.0.1:1'], listen }, null, 1),
  })
  return run(t, ['check'], cwd)
}

const LEAST = { names: ['a.example'], agreeToTerms: true }
const REDIRECT = { port: 8080, redirect: 'https' }

test('ACME in the configuration file is enough for https, and stands beside certificates from files', async (t) => {
  const { stdout, code } = await check(t, LEAST)
  assert.match(stdout, /^ok: .*8443 \(https\)/)
  assert.equal(code, 0)
  const { stderr } = await check(t, LEAST, [], { cert: 'nowhere.pem', key: 'nowhere.pem' })
  assert.match(stderr, /tls\.cert names a file that does not exist/)
})

test('http-01 needs a listener that redirects', async (t) => {
  const acme = { ...LEAST, challenge: 'http-01' }
  assert.match(
    (await check(t, acme)).stderr,
    /listen\[0\]\.tls\.acme\.challenge is 'http-01', but no listener responds to it\n.*another listener with redirect/,
  )
  assert.match((await check(t, acme, [REDIRECT])).stdout, /^ok/)
})

test('mistakes in it have their place in the file', async (t) => {
  const { stderr, code } = await check(t, { names: ['*.a.example'], folder: 7, ca: 'nowhere.pem', emial: 'x' })
  assert.equal(code, 2)
  const at = (path: string, message: string): RegExp =>
    new RegExp(`heddle\\.config\\.json:\\d+:\\d+: listen\\[0\\]\\.tls\\.acme${path} ${message}`)
  assert.match(stderr, at('\\.names\\[0\\]', 'is a wildcard'))
  assert.match(stderr, at('\\.folder', 'is 7'))
  // Relative to the folder of the file.
  assert.match(stderr, at('\\.ca', 'names a file that does not exist: /.*nowhere\\.pem'))
  assert.match(stderr, at('\\.emial', 'is unknown; did you mean email\\?'))
  assert.match(stderr, /listen\[0\]\.tls\.acme\.agreeToTerms is missing/)
  assert.match((await check(t, 'yes')).stderr, at('', "is 'yes'"))
})
