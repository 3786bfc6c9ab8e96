import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLAG, FRAME, SETTING } from '../../src/http2/protocol.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { Bench, block, data, frame, GET, headers, POST, settings, uint32 } from '../http2/wire.ts'
import { caseCount, seed } from './mutator.ts'

const COUNT = caseCount(3_000)

/** Frames of a conversation that nobody could find fault with. */
const SEEDS: readonly (readonly Buffer[])[] = [
  [headers(1), headers(3, [...GET, ['cookie', 'a=1']])],
  [headers(1, POST, FLAG.END_HEADERS), data(1, 'hello'), data(1, '', FLAG.END_STREAM)],
  [headers(1, POST, FLAG.END_HEADERS), data(1, 'hello'), headers(1, [['x-sum', '5']])],
  [
    frame(FRAME.HEADERS, FLAG.END_STREAM, 1, block(GET).subarray(0, 9)),
    frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, block(GET).subarray(9)),
  ],
  [
    settings([SETTING.INITIAL_WINDOW_SIZE, 10], [SETTING.HEADER_TABLE_SIZE, 0]),
    headers(1),
    settings([SETTING.INITIAL_WINDOW_SIZE, 9_000]),
  ],
  [headers(1), frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(1000)), frame(FRAME.RST_STREAM, 0, 1, uint32(8)), headers(3)],
  [frame(FRAME.PING, 0, 0, Buffer.alloc(8, 7)), frame(FRAME.GOAWAY, 0, 0, [...uint32(0), ...uint32(0)])],
  [
    frame(FRAME.HEADERS, 0x2d, 1, [2, ...uint32(0), 16, ...block(GET), 0, 0]),
    frame(FRAME.PRIORITY, 0, 1, [...uint32(3), 1]),
  ],
  // Literals that enter the table, and indexes of them, Huffman coded.
  [
    frame(
      FRAME.HEADERS,
      5,
      1,
      Buffer.from('828684418cf1e3c2e5f23a6ba0ab90f4ff408825a849e95ba97d7f8925a849e95bb8e8b4bf', 'hex'),
    ),
    frame(FRAME.HEADERS, 5, 3, [0x82, 0x86, 0x84, 0xbf, 0xbe]),
  ],
]

test(`mutated frames: nothing is thrown, memory is bounded, and cuts make no difference (FUZZ_SEED=${seed} FUZZ_CASES=${COUNT})`, (t) => {
  const random = seededRandom(seed)
  const below = (n: number): number => Math.floor(random() * n)
  let ended = 0
  for (let i = 0; i < COUNT; i++) {
    const frames = [...SEEDS, ...SEEDS].flatMap((some) => (below(4) === 0 ? some : []))
    const bytes = Buffer.concat(frames.map((one) => (below(40) === 0 ? Buffer.concat([one, one]) : one)))
    for (let k = below(3); k > 0 && bytes.length > 0; k--)
      bytes[below(bytes.length)] = below(2) === 0 ? below(256) : (bytes[below(bytes.length)] as number)
    const whole = run([bytes])
    const cut = bytes.length > 0 ? below(bytes.length) : 0
    const inTwo = run([bytes.subarray(0, cut), bytes.subarray(cut)])
    const single = run([...bytes].map((byte) => Buffer.from([byte])))
    assert.deepEqual(inTwo, whole, `case ${i}`)
    assert.deepEqual(single, whole, `case ${i}`)
    if (whole.isClosed) ended++
  }
  t.diagnostic(`${ended} of ${COUNT} connections were ended`)
  assert.ok(ended > COUNT / 10 && ended < COUNT)
})

/** What a server makes of the bytes; it answers each request. */
function run(pieces: readonly Buffer[]): { isClosed: boolean; sent: string; streams: string[] } {
  const bench = new Bench({ maxStreams: 20 })
  bench.onRequest = (stream) => {
    stream.sendHead([':status', '200'], ['x-a', 'b'])
    stream.write(Buffer.alloc(2_000))
    stream.end()
  }
  bench.receive(...pieces)
  assert.ok(bench.session.openStreams <= 20)
  assert.ok(bench.session.unwritten < 200_000)
  const streams = bench.streams.map(({ lines }) => lines.join('|').replaceAll('|data ', ''))
  return { isClosed: bench.session.isClosed, sent: bench.sent().toString('hex'), streams }
}
