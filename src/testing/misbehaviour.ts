import type { MockHandler, MockScript } from './mock-script.ts'

/** Reads the request and never responds. */
export const neverAnswer: MockHandler = () => {}

/** RST as soon as the head of a request has arrived, before the first byte of a response. */
export const resetOnRequest: MockHandler = (_request, reply) => reply.reset()

/** FIN as soon as the head of a request has arrived. */
export const cutOnRequest: MockHandler = (_request, reply) => reply.abort()

/** Half of a head, then RST. */
export const resetMidHead: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nContent-Ty')
  reply.reset()
}

/** Half of a head, then FIN. */
export const cutMidHead: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nContent-Ty')
  reply.abort()
}

/** A valid head and the start of a chunked body, then RST. */
export const resetMidBody: MockHandler = (_request, reply) => {
  reply.head()
  reply.chunk('the first half')
  reply.reset()
}

/** A valid head and the start of a chunked body, then FIN: no last chunk. */
export const cutMidBody: MockHandler = (_request, reply) => {
  reply.head()
  reply.chunk('the first half')
  reply.abort()
}

/** Bytes that are not HTTP. */
export const garbage: MockHandler = (_request, reply) => {
  reply.raw('\x16\x03\x01\x02\0 this is not HTTP\r\n\r\n')
  reply.abort()
}

/** Announces 100 bytes, sends 10, then FIN. */
export const shortBody: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789')
  reply.abort()
}

/** Announces 10 bytes, sends 100 and keeps the connection: the rest looks like the start of another response. */
export const longBody: MockHandler = (_request, reply) => {
  reply.raw(`HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n${'0123456789'.repeat(10)}`)
  reply.end()
}

/** Both framings, with different lengths, as in request smuggling (RFC 9112 section 6.3). */
export const twoFramings: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n')
  reply.end()
}

/** An invalid chunk size in the middle of a body. */
export const badChunk: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n')
  reply.abort()
}

/** Responds before it has read the body, and stops reading it. */
export const answerWithoutReading: MockHandler = (request, reply) => {
  request.pause()
  reply.send({ status: 413, headers: ['Connection', 'close'], body: 'too large' })
}

/**
 * The keep-alive race: responds to the first request of each connection, and closes the connection without a response when a
 * second one arrives on it. A request on a new connection always gets a response.
 */
export function closeIdleInRace(how: 'reset' | 'fin' = 'reset'): MockHandler {
  const seen = new Set<number>()
  return (request, reply) => {
    if (seen.has(request.connection)) {
      if (how === 'reset') reply.reset()
      else reply.abort()
      return
    }
    seen.add(request.connection)
    reply.send({ body: `${request.method} ${request.path}` })
  }
}

/**
 * Responds only after `gate` has resolved: a slow backend without a clock.
 * @param answer default: an empty 200.
 */
export function answerAfter(
  gate: Promise<unknown>,
  answer: Parameters<Parameters<MockHandler>[1]['send']>[0] = {},
): MockScript {
  return async (request, reply) => {
    if (request.expectsContinue) reply.continue()
    await Promise.all([gate, request.body()])
    reply.send(answer)
  }
}
