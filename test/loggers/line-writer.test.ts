import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { lineWriter } from '../../src/loggers/line-writer.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { runProxy } from '../support/running-proxy.ts'

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'heddle-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

/** A stream that keeps its writes and answers each when told to. */
function slowStream(): { stream: Writable; writes: string[]; goOn: (error?: Error) => void } {
  const writes: string[] = []
  let pending: (error?: Error | null) => void = () => {}
  const stream = new Writable({
    autoDestroy: false,
    write(chunk, _encoding, done) {
      writes.push(String(chunk))
      pending = done
    },
  })
  return { stream, writes, goOn: (error) => pending(error) }
}

/** One end of a pipe in non-blocking mode. Linux opens a FIFO for reading and writing without waiting for the other end. */
async function pipe(t: TestContext): Promise<number> {
  const path = join(await folder(t), 'fifo')
  execFileSync('mkfifo', [path])
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
  t.after(() => fs.closeSync(fd))
  return fd
}

test('lines reach a file complete and in order', async (t) => {
  const path = join(await folder(t), 'log')
  const fd = fs.openSync(path, 'w')
  await using writer = lineWriter(fd)
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} é`)
  for (const line of lines) writer.write(line)
  await writer.flush()
  fs.closeSync(fd)
  assert.equal(fs.readFileSync(path, 'utf8'), `${lines.join('\n')}\n`)
  assert.equal(writer.dropped, 0)
})

test('the lines of one turn are one write, a full batch is written at once', async () => {
  const { stream, writes, goOn } = slowStream()
  const writer = lineWriter(stream, { batchBytes: 10 })
  writer.write('a')
  writer.write('b')
  assert.deepEqual(writes, [])
  await new Promise(setImmediate)
  assert.deepEqual(writes, ['a\nb\n'])
  goOn()
  writer.write('0123456789')
  assert.deepEqual(writes, ['a\nb\n', '0123456789\n'])
  goOn()
  await writer.close()
})

test('lines wait for the interval, a full batch or a flush', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { stream, writes, goOn } = slowStream()
  const writer = lineWriter(stream, { batchBytes: 10, intervalMs: 100 })
  writer.write('a')
  await new Promise(setImmediate)
  goOn()
  writer.write('b')
  await new Promise(setImmediate)
  t.mock.timers.tick(99)
  writer.write('c')
  await new Promise(setImmediate)
  assert.deepEqual(writes, ['a\n'])
  t.mock.timers.tick(1)
  assert.deepEqual(writes, ['a\n', 'b\nc\n'])
  goOn()
  writer.write('0123456789')
  assert.deepEqual(writes.slice(2), ['0123456789\n'])
  goOn()
  writer.write('d')
  const flushed = writer.flush()
  assert.deepEqual(writes.slice(3), ['d\n'])
  goOn()
  await flushed
  t.mock.timers.tick(100)
  writer.write('e')
  await new Promise(setImmediate)
  assert.deepEqual(writes.slice(4), ['e\n'])
  goOn()
  await writer.close()
})

test('flush() waits for the lines before it, not for those after it', async () => {
  const { stream, writes, goOn } = slowStream()
  const writer = lineWriter(stream)
  await writer.flush()
  writer.write('before')
  const flushed = writer.flush()
  await new Promise(setImmediate)
  writer.write('after')
  goOn()
  await flushed
  assert.deepEqual(writes, ['before\n'])
  const closed = writer.close()
  assert.deepEqual(writes, ['before\n', 'after\n'])
  goOn()
  await closed
})

test('over its bound it drops and counts lines, until there is room', async () => {
  const { stream, writes, goOn } = slowStream()
  const writer = lineWriter(stream, { maxBufferedBytes: 20, batchBytes: 5 })
  for (const line of ['aaaa', 'bbbb', 'cccc', 'dddd', 'eeee', '']) writer.write(line)
  assert.equal(writer.dropped, 2)
  const flushed = writer.flush()
  goOn()
  goOn()
  await flushed
  assert.deepEqual(writes, ['aaaa\n', 'bbbb\ncccc\ndddd\n'], 'what has piled up goes out in one write')
  writer.write('ffff')
  goOn()
  assert.equal(writes.join(''), 'aaaa\nbbbb\ncccc\ndddd\nffff\n')
  assert.equal(writer.dropped, 2)
  await writer.close()
})

test('a failing stream loses its lines and is reported', async () => {
  const { stream, goOn } = slowStream()
  const errors: string[] = []
  const writer = lineWriter(stream, { onError: (error) => errors.push(error.message) })
  writer.write('a')
  writer.write('b')
  await new Promise(setImmediate)
  goOn(new Error('disk full'))
  await writer.flush()
  assert.deepEqual(errors, ['disk full'])
  assert.equal(writer.dropped, 2)
  await writer.close()
})

test('a destroyed stream loses its lines and nothing hangs', async () => {
  const stream = new PassThrough()
  const writer = lineWriter(stream)
  const closed = once(stream, 'close')
  stream.destroy()
  await closed
  writer.write('lost')
  await writer.close()
  assert.equal(writer.dropped, 1)
})

test('after close() lines are dropped; close() is idempotent', async () => {
  const { stream, writes } = slowStream()
  const writer = lineWriter(stream)
  await writer.close()
  writer.write('late')
  await writer.close()
  assert.deepEqual([writes, writer.dropped], [[], 1])
  assert.equal(stream.listenerCount('error'), 0)
})

test('a write to a full pipe is retried until all is written', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const fd = await pipe(t)
  await using writer = lineWriter(fd, { retryMs: 1 })
  const lines = Array.from({ length: 5000 }, (_, i) => `line ${i} `.padEnd(100, '.'))
  for (const line of lines) writer.write(line)
  const flushed = writer.flush()
  const expected = `${lines.join('\n')}\n`
  let text = ''
  const buffer = Buffer.alloc(10_000)
  while (text.length < expected.length) {
    await new Promise(setImmediate)
    try {
      text += buffer.toString('latin1', 0, fs.readSync(fd, buffer))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
    }
  }
  await flushed
  assert.equal(text, expected)
})

test('a pipe without a reader loses the lines', { skip: process.platform !== 'linux' }, async (t) => {
  const path = join(await folder(t), 'fifo')
  execFileSync('mkfifo', [path])
  const reader = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK)
  t.after(() => fs.closeSync(fd))
  fs.closeSync(reader)
  const codes: (string | undefined)[] = []
  const writer = lineWriter(fd, { onError: (error: NodeJS.ErrnoException) => codes.push(error.code) })
  writer.write('a')
  writer.write('b')
  await writer.flush()
  assert.deepEqual(codes, ['EPIPE'])
  assert.equal(writer.dropped, 2)
})

test('an error within a line does not join the next one to it', async (t) => {
  const path = join(await folder(t), 'log')
  const fd = fs.openSync(path, 'w')
  t.after(() => fs.closeSync(fd))
  const writer = lineWriter(fd)
  // Four bytes are written, then the disk is full: no file system does that on demand.
  const write = fs.write as unknown as (...args: unknown[]) => void
  const fake = t.mock.method(fs, 'write', (...args: unknown[]) => {
    const [, bytes, from] = args as [number, Buffer, number]
    const done = args.at(-1) as (error: Error | null, written?: number) => void
    if (from === 0) write(fd, bytes, 0, 4, null, done)
    else done(Object.assign(new Error('full'), { code: 'ENOSPC' }))
  })
  writer.write('aa')
  writer.write('bb')
  writer.write('cc')
  await writer.flush()
  fake.mock.restore()
  writer.write('dd')
  await writer.flush()
  assert.equal(fs.readFileSync(path, 'utf8'), 'aa\nb\ndd\n')
  assert.equal(writer.dropped, 2)
})

test("it writes a proxy's access log to a file", async (t) => {
  const path = join(await folder(t), 'access.log')
  const fd = fs.openSync(path, 'a')
  const log = lineWriter(fd)
  {
    await using backend = await mockBackend()
    await using front = await runProxy({ target: backend.url, accessLog: { format: 'json', write: log.write } })
    for (let i = 0; i < 3; i++) await (await fetch(`${front.url}/${i}`)).arrayBuffer()
  }
  await log.close()
  fs.closeSync(fd)
  const lines = fs.readFileSync(path, 'utf8').trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).target),
    ['/0', '/1', '/2'],
  )
})
