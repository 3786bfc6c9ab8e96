import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { seededRandom } from '../../src/testing/random.ts'

/** `npm run fuzz`: many cases, others each time. In the usual run of the tests: few, always the same. */
const isLong = process.env.npm_lifecycle_event === 'fuzz'

/** How many cases a run has: `FUZZ_CASES`, or what the test thinks bearable. */
export function caseCount(usual: number): number {
  return Number(process.env.FUZZ_CASES ?? (isLong ? 100_000 : usual))
}

/** `FUZZ_SEED` repeats a run. */
export const seed = Number(process.env.FUZZ_SEED ?? (isLong ? Date.now() % 1_000_000 : 1))

/** Messages of the corpus: a line each, escaped as in a JSON string; a character is a byte. */
export function corpus(name: string): string[] {
  const file = new URL(`../../../test/fuzz/corpus/${name}.txt`, import.meta.url)
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  return lines.map((line) => JSON.parse(`"${line}"`) as string)
}

/** What has made parsers disagree before. */
const PIECES = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\n\n',
    ' ',
    '  ',
    '\t',
    ':',
    ',',
    ';',
    '=',
    '"',
    '\\',
    '/',
    '#',
    '?',
    '%00',
    '-',
    '+',
    '_',
  ],
  ...[
    '\0',
    '\x01',
    '\x0b',
    '\x0c',
    '\x7f',
    '\x80',
    '\x85',
    '\xa0',
    '\xff',
    '0',
    '1',
    'f',
    'F',
    'x',
    '00000000000000001',
    'fffffffff',
  ],
  ...[
    'Host: b\r\n',
    'Content-Length: 1\r\n',
    'Content-Length: 5\r\n',
    'Content-Length : 5\r\n',
    'Content-Length: 5, 5\r\n',
  ],
  ...[
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding:\x0bchunked\r\n',
    'chunked',
    ', chunked',
  ],
  ...[
    'Connection: close\r\n',
    'Connection: keep-alive\r\n',
    'Connection: upgrade\r\n',
    'Upgrade: h2c\r\n',
    'Expect: 100-continue\r\n',
  ],
  ...[
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
    'http/1.1',
    'GET ',
    'get ',
    'CONNECT a:1 ',
    '0\r\n\r\n',
    ';a=b',
    ';a',
    '; a',
    'X: y\r\n',
    ' z\r\n',
  ],
  ...['Proxy-Connection: close\r\n', 'Keep-Alive: timeout=1\r\n', 'Trailer: X\r\n', 'TE: trailers\r\n', 'x'.repeat(40)],
] as const

/** Makes cases of a corpus: always the same for the same seed. */
export function mutator(messages: readonly string[], from: number): () => string {
  const random = seededRandom(from)
  const below = (count: number): number => Math.floor(random() * count)
  const any = <One>(list: readonly One[]): One => list[below(list.length)] as One

  function change(text: string): string {
    const at = below(text.length + 1)
    const span = 1 + below(random() < 0.7 ? 4 : 30)
    const [before, after] = [text.slice(0, at), text.slice(at)]
    switch (below(8)) {
      case 0:
        return before + after.slice(span)
      case 1:
        return before + after.slice(0, span) + after
      case 2:
        return before + String.fromCharCode(below(256)) + after.slice(1)
      case 3:
        return before + after.slice(0, 1).toUpperCase() + after.slice(1)
      case 4:
        return before + any(messages).slice(below(40))
      case 5:
        return text + any(messages)
      case 6: {
        // At the beginning of a line, where it may be a header.
        const line = text.indexOf('\r\n', at)
        return line < 0 ? text : text.slice(0, line + 2) + any(PIECES) + text.slice(line + 2)
      }
      default:
        return before + any(PIECES) + after
    }
  }

  return () => {
    let text = any(messages)
    for (let left = below(5); left > 0; left--) text = change(text)
    return text
  }
}

/** A connection of which both ends are in the test's hands. What is written to it is kept in `written`. */
export class FakeSocket extends Duplex {
  written = ''

  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written += chunk.toString('latin1')
    done()
  }
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
  destroySoon(): void {
    this.end(() => this.destroy())
  }
}

/** Runs `each` in batches, so that streams and ticks have their time without one turn of the loop for each case. */
export async function inBatches<State>(
  count: number,
  begin: (index: number) => State,
  check: (state: State) => void,
): Promise<void> {
  for (let done = 0; done < count; done += 100) {
    const states = Array.from({ length: Math.min(100, count - done) }, (_, i) => begin(done + i))
    for (let turn = 0; turn < 6; turn++) await new Promise((resolve) => setImmediate(resolve))
    for (const state of states) check(state)
  }
}
