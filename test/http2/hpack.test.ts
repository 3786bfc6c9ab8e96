import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type FieldBlock, HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts'
import { decodeHuffman } from '../../src/http2/huffman.ts'

const BOUNDS = { maxHeadBytes: 16_384, maxHeaders: 100 }

type Field = readonly [name: string, value: string]

/** Blocks of one connection that another implementation has encoded: see test/tools/record-hpack.py. */
const RECORDED = JSON.parse(
  readFileSync(new URL('../../../test/http2/hpack-blocks.json', import.meta.url), 'utf8'),
) as readonly { readonly bytes: string; readonly fields: readonly Field[] }[]

function decode(decoder: HpackDecoder, hex: string): FieldBlock | null {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  return decoder.decode(bytes, 0, bytes.length)
}

/** The fields of a block as lines. */
function linesOf(block: FieldBlock | null): string[] | null {
  if (block === null) return null
  const all = [...block.pseudo, ...block.list]
  return all.filter((_, i) => i % 2 === 0).map((name, i) => `${name}: ${all[2 * i + 1]}`)
}

function encode(encoder: HpackEncoder, fields: readonly Field[]): Buffer {
  const out = Buffer.alloc(HpackEncoder.mostBytes(fields.flat()))
  let at = encoder.begin(out, 0)
  for (const [name, value] of fields) at = encoder.field(out, at, name, value)
  return out.subarray(0, at)
}

describe('RFC 7541 appendix C', () => {
  for (const [section, blocks] of Object.entries({
    'C.3, requests without Huffman coding': [
      [
        '828684410f7777772e6578616d706c652e636f6d',
        ':method: GET',
        ':scheme: http',
        ':path: /',
        ':authority: www.example.com',
      ],
      [
        '828684be58086e6f2d6361636865',
        ...[':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com', 'cache-control: no-cache'],
      ],
      [
        '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
        ...[
          ':method: GET',
          ':scheme: https',
          ':path: /index.html',
          ':authority: www.example.com',
          'custom-key: custom-value',
        ],
      ],
    ],
    'C.4, requests with Huffman coding': [
      [
        '828684418cf1e3c2e5f23a6ba0ab90f4ff',
        ':method: GET',
        ':scheme: http',
        ':path: /',
        ':authority: www.example.com',
      ],
      [
        '828684be5886a8eb10649cbf',
        ...[':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com', 'cache-control: no-cache'],
      ],
      [
        '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
        ...[
          ':method: GET',
          ':scheme: https',
          ':path: /index.html',
          ':authority: www.example.com',
          'custom-key: custom-value',
        ],
      ],
    ],
    // The table has 256 bytes there; we set that by an update.
    'C.6, responses with Huffman coding, and evictions': [
      [
        '3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
        ...[
          ':status: 302',
          'cache-control: private',
          'date: Mon, 21 Oct 2013 20:13:21 GMT',
          'location: https://www.example.com',
        ],
      ],
      [
        '4883640effc1c0bf',
        ...[
          ':status: 307',
          'cache-control: private',
          'date: Mon, 21 Oct 2013 20:13:21 GMT',
          'location: https://www.example.com',
        ],
      ],
      [
        '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
        ...[
          ':status: 200',
          'cache-control: private',
          'date: Mon, 21 Oct 2013 20:13:22 GMT',
          'location: https://www.example.com',
        ],
        ...['content-encoding: gzip', 'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
      ],
    ],
  })) {
    test(section, () => {
      const decoder = new HpackDecoder(BOUNDS)
      for (const [hex = '', ...lines] of blocks) assert.deepEqual(linesOf(decode(decoder, hex)), lines)
    })
  }
})

test('blocks that another implementation has encoded', () => {
  const decoder = new HpackDecoder(BOUNDS)
  for (const { bytes, fields } of RECORDED) {
    assert.deepEqual(
      linesOf(decode(decoder, bytes)),
      fields.map(([name, value]) => `${name}: ${value}`),
    )
  }
})

test('what we encode, we decode, whatever table the peer allows', () => {
  const encoder = new HpackEncoder()
  const decoder = new HpackDecoder(BOUNDS)
  RECORDED.forEach(({ fields }, i) => {
    if (i % 20 === 10) encoder.resize([0, 100, 4096, 65_536][((i / 10) % 4) | 0] as number)
    // Changed twice before a block: the peer must hear of the smaller one, too.
    if (i % 60 === 30) [encoder.resize(0), encoder.resize(2000)]
    const bytes = encode(encoder, fields)
    assert.deepEqual(
      linesOf(decoder.decode(bytes, 0, bytes.length)),
      fields.map(([name, value]) => `${name}: ${value}`),
    )
  })
})

describe('HpackEncoder', () => {
  test('a repeated field takes a byte', () => {
    const encoder = new HpackEncoder()
    encode(encoder, [['x-one', '1']])
    assert.equal(encode(encoder, [['x-one', '1']]).toString('hex'), 'be')
    assert.equal(encode(encoder, [[':status', '200']]).toString('hex'), '88')
  })

  test('a field that leaves the table is written in full again', () => {
    const encoder = new HpackEncoder()
    encoder.resize(100)
    const size = encode(encoder, [['x-one', '1']]).length
    encode(encoder, [['x-two', '2'.repeat(40)]])
    assert.ok(encode(encoder, [['x-one', '1']]).length >= size - 3)
  })

  test('secrets are never indexed, and cookies never put into a table', () => {
    for (const [name, first] of [
      ['authorization', 0x1f],
      ['proxy-authorization', 0x1f],
      ['cookie', 0x0f],
      ['set-cookie', 0x0f],
      [':path', 0x04],
    ] as const) {
      const encoder = new HpackEncoder()
      const bytes = encode(encoder, [[name, 'a-value']])
      assert.equal(bytes[0], first, name)
      assert.deepEqual(encode(encoder, [[name, 'a-value']]), bytes)
    }
  })

  test('a long value does not take the table from others', () => {
    const encoder = new HpackEncoder()
    encode(encoder, [['x-one', '1']])
    encode(encoder, [['x-long', 'v'.repeat(3_000)]])
    encode(encoder, [['x-longer', 'v'.repeat(3_000)]])
    assert.equal(encode(encoder, [['x-one', '1']]).length, 1)
  })
})

describe('HpackDecoder: compression errors', () => {
  for (const [what, hex] of Object.entries({
    'index 0 (6.1)': '80',
    'an index beyond both tables (2.3.3)': 'be',
    'a name beyond both tables (2.3.3)': '7e0161',
    'a table size beyond the allowed one (6.3)': '3fe21f',
    'a table size after a field (4.2)': '8220',
    'an incomplete integer (5.1)': 'ff',
    'an integer of more than 28 bits (5.1)': 'ffffffffff7f',
    'a string that is longer than the block (5.2)': '40056162',
    'a field without a value (6.2)': '400161',
    'padding of more than seven bits (5.2)': '400161 82f8ff',
    'padding of zeros (5.2)': '400161 8118',
    'the end-of-string symbol (5.2)': '400161 84ffffffff',
  })) {
    test(what, () => assert.equal(decode(new HpackDecoder(BOUNDS), hex), null))
  }
})

describe('HpackDecoder: malformed fields (RFC 9113 section 8.2.1)', () => {
  const literal = (name: string, value: string): string =>
    [
      Buffer.from([0x40, name.length]),
      Buffer.from(name, 'latin1'),
      Buffer.from([value.length]),
      Buffer.from(value, 'latin1'),
    ]
      .map((bytes) => bytes.toString('hex'))
      .join('')
  for (const [what, name, value, isMalformed] of [
    ['an upper-case name', 'X-A', '1', true],
    ['an empty name', '', '1', true],
    ['a colon alone', ':', '1', true],
    ['a colon in a name', 'a:b', '1', true],
    ['a space in a name', 'a b', '1', true],
    ['CR LF in a value', 'a', '1\r\nb: 2', true],
    ['NUL in a value', 'a', '1\0', true],
    ['a space before a value', 'a', ' 1', true],
    ['a tab after a value', 'a', '1\t', true],
    ['an empty value', 'a', '', false],
    ['a tab and bytes over 127 in a value', 'a', '1\t\xff', false],
  ] as const) {
    test(what, () => {
      const decoder = new HpackDecoder(BOUNDS)
      assert.equal(decode(decoder, literal(name, value))?.isMalformed, isMalformed)
      // The same entry, from the table.
      assert.equal(decode(decoder, 'be')?.isMalformed, isMalformed)
    })
  }

  test('a valid value under a malformed name of the table', () => {
    const decoder = new HpackDecoder(BOUNDS)
    decode(decoder, literal('X', '1'))
    assert.equal(decode(decoder, '7e0132')?.isMalformed, true)
  })

  test('a name of the table whose value was malformed', () => {
    const decoder = new HpackDecoder(BOUNDS)
    decode(decoder, literal('a', '\0'))
    assert.equal(decode(decoder, '7e0132')?.isMalformed, false)
  })

  test('a pseudo-header field after a regular one (8.3)', () => {
    assert.equal(decode(new HpackDecoder(BOUNDS), `${literal('a', '1')}82`)?.isMalformed, true)
  })
})

describe('HpackDecoder: bounds', () => {
  test('a list that is too large is not kept, and the table stays right', () => {
    const decoder = new HpackDecoder({ maxHeadBytes: 100, maxHeaders: 100 })
    const block = decode(decoder, `4001610131 ${'be'.repeat(1000)} 4001620132`)
    assert.equal(block?.isTooLarge, true)
    assert.equal(block?.bytes, 34 * 1002)
    assert.ok((block?.list.length ?? 0) <= 6)
    assert.deepEqual(linesOf(decode(decoder, 'be')), ['b: 2'])
  })

  test('too many fields', () => {
    const decoder = new HpackDecoder({ maxHeadBytes: 10_000, maxHeaders: 3 })
    assert.equal(decode(decoder, `8284 4001610131 bebe`)?.isTooLarge, false)
    assert.equal(decode(decoder, 'bebebebe')?.isTooLarge, true)
  })

  test('an entry that is larger than the table empties it', () => {
    const decoder = new HpackDecoder(BOUNDS)
    decode(decoder, '4001610131')
    decode(decoder, `400162 7fa01f ${'31'.repeat(4127)}`)
    assert.equal(decode(decoder, 'be'), null)
  })
})

test('a string of any length, by Huffman code', () => {
  // Eight times `a`, which is 00011.
  const eight = '18c6318c63'
  for (const times of [1, 1_000, 3_000]) {
    const bytes = Buffer.from(eight.repeat(times), 'hex')
    const [found, length] = [decodeHuffman(bytes, 0, bytes.length), 8 * times]
    assert.equal(found, 'a'.repeat(length))
  }
})

test('the encoder tells of the smallest size that its table has had, and then of the last', () => {
  for (const [sizes, wanted] of [
    [[0, 4096], '203fe11f88'],
    [[30, 0, 31, 4096], '203fe11f88'],
    [[4096], '88'],
    [[0], '2088'],
  ] as const) {
    const encoder = new HpackEncoder()
    for (const bytes of sizes) encoder.resize(bytes)
    assert.equal(encode(encoder, [[':status', '200']]).toString('hex'), wanted)
  }
})
