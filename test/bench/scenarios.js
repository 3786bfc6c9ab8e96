/**
 * What is asked of every subject: a path of the backends, how many connections, and how large a body is posted. Where a
 * scenario names `subjects` they alone take part, and its `yardstick` is what the ratio is to.
 * The names are the arguments of `npm run bench -- NAME...`.
 */
export const SCENARIOS = {
  hello: { title: 'GET, a JSON answer of 115 bytes, 64 connections', path: '/', connections: 64, bodyBytes: 0 },
  post16k: {
    title: 'POST of 16 KiB, a small answer, 64 connections',
    path: '/post',
    connections: 64,
    bodyBytes: 16_384,
  },
  '16k': { title: 'GET, an answer of 16 KiB, 64 connections', path: '/16k', connections: 64, bodyBytes: 0 },
  '1m': { title: 'GET, an answer of 1 MiB, 64 connections', path: '/1m', connections: 64, bodyBytes: 0 },
  threads: {
    title: 'GET, a JSON answer of 115 bytes, 64 connections, over one and over two threads; the ratio is to one thread',
    path: '/',
    connections: 64,
    bodyBytes: 0,
    subjects: ['heddle-1-thread', 'heddle-2-threads'],
    yardstick: 'heddle-1-thread',
  },
  512: { title: 'GET, a JSON answer of 115 bytes, 512 connections', path: '/', connections: 512, bodyBytes: 0 },
}

export const DEFAULT_SCENARIOS = ['hello', 'post16k', '16k']
