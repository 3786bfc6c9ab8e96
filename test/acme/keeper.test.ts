import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { AcmeProblem, type Proof } from '../../src/acme/authority.ts'
import { Keeper, type Order } from '../../src/acme/keeper.ts'
import { Store } from '../../src/acme/store.ts'
import type { OpenProvider, ProviderListener } from '../../src/index.ts'
import { type ManualClock, manualClock } from '../../src/testing/index.ts'
import { oneTest, oneTestRenewed, wildTest } from '../support/named-certificates.ts'
import { temporary, type WaitingLogger, waitingLogger } from './support.ts'

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000]
/** The certificates are valid from 2026-11-30 on, for a century. */
const NOW = Date.parse('2026-12-01')
const PAIR = oneTest.key + oneTest.cert
const RENEWED = oneTestRenewed.key + oneTestRenewed.cert

interface Kept {
  readonly provider: OpenProvider
  readonly clock: ManualClock
  readonly logger: WaitingLogger
  readonly store: Store
  /** The names that were ordered. */
  readonly orders: string[]
  /** How often the listener was told of a change. */
  readonly applied: () => number
  /** Advances, and waits until nothing is ordered. */
  pass(ms: number): Promise<void>
}

/** A listener of a keeper; it has begun. */
function keep(
  t: TestContext,
  order: Order,
  {
    names = ['one.test'],
    folder = temporary(t),
    before,
    apply = async () => {},
  }: { names?: string[]; folder?: string; before?: (store: Store) => void; apply?: ProviderListener['apply'] } = {},
): Kept {
  const [clock, logger] = [manualClock(0, { epochMs: NOW }), waitingLogger()]
  const store = new Store(folder, 'https://authority.example/dir')
  const orders: string[] = []
  const keeper = new Keeper(names, store, (name, ...more) => {
    orders.push(name)
    return order(name, ...more)
  })
  let applied = 0
  if (before !== undefined) {
    store.open()
    before(store)
  }
  const listener: ProviderListener = {
    clock,
    logger,
    apply() {
      applied++
      return apply()
    },
  }
  const provider = keeper.open(listener)
  provider.begin()
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await setImmediate()
  }
  t.after(() => provider.close())
  return { provider, clock, logger, store, orders, applied: () => applied, pass }
}

const refuse: Order = async () => {
  throw new Error('no')
}
const issue: Order = async () => PAIR

test('a second after the start one name after another is ordered, stored and served', async (t) => {
  let running = 0
  const one = keep(
    t,
    async () => {
      assert.equal(running++, 0)
      await setImmediate()
      running--
      return PAIR
    },
    { names: ['one.test', 'also.one.test'] },
  )
  assert.deepEqual(one.logger.lines, [
    'warn: acme: there is no certificate for one.test, also.one.test yet: until it is ordered, clients that ask for it see none that is valid for it',
  ])
  await one.pass(999)
  assert.deepEqual(one.orders, [])
  await one.pass(1)
  await one.logger.next(/^info: .* for also\.one\.test, valid until 2126-11-06/)
  assert.deepEqual(one.orders, ['one.test', 'also.one.test'])
  assert.equal(one.applied(), 2)
  assert.equal(one.store.read({ name: 'one.test' }), PAIR)
  assert.deepEqual(
    one.provider.names.map(({ name, certificate, subject, validTo }) => [name, certificate, subject, validTo]),
    ['one.test', 'also.one.test'].map((name) => [
      name,
      { ...oneTest, names: [name] },
      'CN=one',
      '2126-11-06T03:09:09.000Z',
    ]),
  )
})

test('what is stored is served at once, until two thirds of its life are over', async (t) => {
  const one = keep(t, async () => RENEWED, { before: (store) => store.write({ name: 'one.test' }, PAIR) })
  assert.equal(one.provider.names[0]?.certificate?.cert, oneTest.cert)
  const [from, to] = [Date.parse('2026-11-30T03:09:09Z'), Date.parse('2126-11-06T03:09:09Z')]
  await one.pass(from + ((to - from) * 2) / 3 - NOW - 1000)
  assert.deepEqual(one.orders, [])
  assert.deepEqual(one.logger.lines, [])
  await one.pass(2000)
  await one.logger.next(/^info/)
  assert.equal(one.provider.names[0]?.certificate?.cert, oneTestRenewed.cert)
  assert.equal(one.store.read({ name: 'one.test' }), RENEWED)
})

test('failures: minutes, then hours, then a day apart, each with a line; then all is forgotten', async (t) => {
  let isWell = false
  const one = keep(t, async () => (isWell ? PAIR : refuse('', async () => () => {}, new AbortController().signal)))
  await one.pass(1000)
  const waits = [1, 5, 15, 60, 180, 480, 1440, 1440].map((minutes) => minutes * MINUTE)
  for (const [failures, wait] of waits.entries()) {
    const line = await one.logger.next(/^error/)
    assert.match(line, /for one\.test could not be ordered: no; the next attempt is in \d+ (min|h); until then/)
    assert.equal(one.provider.names[0]?.fault, 'no')
    assert.equal(one.orders.length, failures + 1)
    // A tenth more or less.
    await one.pass(wait * 0.89)
    assert.equal(one.orders.length, failures + 1, `before ${wait} ms`)
    if (failures === waits.length - 1) isWell = true
    await one.pass(wait * 0.22)
    assert.equal(one.orders.length, failures + 2, `after ${wait} ms`)
  }
  await one.logger.next(/^info/)
  assert.equal(one.provider.names[0]?.fault, null)
})

test('a name that fails holds up no other', async (t) => {
  const names = ['one.test', 'also.one.test']
  const one = keep(t, async (name, ...more) => (name === 'one.test' ? refuse(name, ...more) : PAIR), { names })
  await one.pass(1000)
  await one.logger.next(/^error/)
  await one.logger.next(/^info: .* for also\.one\.test/)
  assert.equal(one.provider.names[0]?.certificate, null)
})

test('the authority says when to come again: not before that, and not later than in a week', async (t) => {
  for (const [retryAfterMs, wait] of [
    [2 * HOUR, 2 * HOUR],
    [365 * DAY, 7 * DAY],
  ] as const) {
    const one = keep(t, async () => {
      throw new AcmeProblem('too many certificates', retryAfterMs)
    })
    await one.pass(1000)
    await one.logger.next(/^error: .*too many certificates/)
    await one.pass(wait - 1000)
    assert.equal(one.orders.length, 1)
    await one.pass(2000)
    assert.equal(one.orders.length, 2)
  }
})

test('with a clock that is wrong, a new certificate is not ordered again at once', async (t) => {
  const one = keep(t, issue)
  one.clock.advance(0)
  // For this machine the certificate that it gets is due at once.
  await one.pass(80 * 365 * DAY)
  await one.logger.next(/^info/)
  assert.equal(one.orders.length, 1)
  await one.pass(0.9 * DAY)
  assert.equal(one.orders.length, 1)
  await one.pass(0.2 * DAY)
  assert.equal(one.orders.length, 2)
})

test('what another process has stored meanwhile is taken, without an order', async (t) => {
  const one = keep(t, issue)
  one.store.write({ name: 'one.test' }, RENEWED)
  await one.pass(1000)
  assert.deepEqual(one.orders, [])
  assert.equal(one.applied(), 1)
  assert.equal(one.provider.names[0]?.certificate?.cert, oneTestRenewed.cert)
})

test('two of one folder take turns; the second finds what the first has stored', async (t) => {
  const folder = temporary(t)
  const waiting: (() => void)[] = []
  const slow: Order = () => new Promise((resolve) => waiting.push(() => resolve(PAIR)))
  const one = keep(t, slow, { folder })
  const other = keep(t, slow, { folder })
  await one.pass(1000)
  await other.pass(1000)
  assert.deepEqual([one.orders, other.orders], [['one.test'], []])
  waiting[0]?.()
  await one.logger.next(/^info/)
  await setImmediate()
  assert.deepEqual(other.orders, [])
  assert.equal(other.provider.names[0]?.certificate?.cert, oneTest.cert)
})

for (const [what, text, message] of [
  ['the key of another', oneTestRenewed.key + oneTest.cert, /has a key that is not that of its certificate/],
  ['another name', wildTest.key + wildTest.cert, /has a certificate that is not for one\.test/],
  ['no key', oneTest.cert, /has no private key/],
  ['no certificate', oneTest.key, /has no certificate/],
  ['nothing', '', /has no private key/],
] as const) {
  test(`a pair with ${what} is not used, from the store or from the authority`, async (t) => {
    const one = keep(t, async () => text, { before: (store) => store.write({ name: 'one.test' }, text) })
    const stored = await one.logger.next(/^warn: .*one\.test\.pem/)
    assert.match(stored, message)
    await one.pass(1000)
    assert.match(await one.logger.next(/^error/), message)
    assert.equal(one.provider.names[0]?.certificate, null)
  })
}

test('a certificate that cannot be stored is used, and is not ordered again', async (t) => {
  const one = keep(t, async () => {
    rmSync(one.store.folder, { recursive: true })
    return PAIR
  })
  await one.pass(1000)
  assert.match(await one.logger.next(/^error/), /is used, but could not be stored: ENOENT.*; after a restart/)
  await one.logger.next(/^info/)
  await one.pass(DAY)
  assert.equal(one.orders.length, 1)
  assert.equal(one.provider.names[0]?.certificate?.cert, oneTest.cert)
  mkdirSync(one.store.folder)
})

test('a change that a thread cannot make is logged, and nothing is ordered again', async (t) => {
  const apply = async (): Promise<void> => {
    throw new Error('thread 2 is stuck')
  }
  const one = keep(t, issue, { apply })
  await one.pass(1000)
  assert.match(await one.logger.next(/^error/), /not changed in every thread: thread 2 is stuck/)
  await one.pass(DAY)
  assert.equal(one.orders.length, 1)
})

const PROOF: Proof = { name: 'one.test', token: 't', keyAuthorization: 't.k', certificate: wildTest }

test('a challenge is served when every thread has it, and taken back; one that a thread cannot serve fails', async (t) => {
  let isBroken = false
  const one = keep(
    t,
    async (_name, show) => {
      const takeBack = await show(PROOF)
      assert.deepEqual(one.provider.challenges, [{ ...wildTest, names: ['one.test'] }])
      assert.equal(one.applied(), 1)
      takeBack()
      assert.deepEqual(one.provider.challenges, [])
      isBroken = true
      await show(PROOF)
      return PAIR
    },
    {
      apply: async () => {
        if (isBroken) throw new Error('a thread is stuck')
      },
    },
  )
  await one.pass(1000)
  assert.match(await one.logger.next(/^error/), /could not be ordered: a thread is stuck/)
  assert.deepEqual(one.provider.challenges, [])
})

test('closed while it orders: the order is cut, silently, and there is no other one', async (t) => {
  const one = keep(
    t,
    (_name, _show, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
      }),
  )
  await one.pass(1000)
  const { length } = one.logger.lines
  one.provider.close()
  await setImmediate()
  await one.pass(DAY)
  assert.equal(one.orders.length, 1)
  assert.equal(one.logger.lines.length, length)
  assert.equal(one.clock.scheduled, 0)
  // A listener that was never there closes as well.
  one.provider.close()
})

test('of two listeners the one that stays goes on', async (t) => {
  const folder = temporary(t)
  const store = new Store(folder, 'https://authority.example/dir')
  const orders: string[] = []
  const keeper = new Keeper(['one.test'], store, async (name) => {
    orders.push(name)
    return PAIR
  })
  const [first, second] = [manualClock(0, { epochMs: NOW }), manualClock(0, { epochMs: NOW })].map((clock) => {
    let applied = 0
    const logger = waitingLogger()
    const provider = keeper.open({ clock, logger, apply: async () => void applied++ })
    provider.begin()
    return { clock, provider, logger, applied: () => applied }
  })
  assert.ok(first && second)
  first.provider.close()
  second.clock.advance(1000)
  await second.logger.next(/^info/)
  assert.deepEqual(orders, ['one.test'])
  assert.deepEqual([first.applied(), second.applied()], [0, 1])
  second.provider.close()
  assert.equal(first.clock.scheduled + second.clock.scheduled, 0)
})
