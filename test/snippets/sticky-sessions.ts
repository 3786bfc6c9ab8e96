import { type Affinity, type Backend, createProxy, type Interceptor, type Proxy, wrapSink } from 'heddle'

/* The snippets of docs/sticky-sessions.md. test/sessions runs them with socket.io. */

export function bySession(backends: string[], logger: 'silent' | 'warnings' = 'warnings'): Proxy {
  /** Backend of each session of socket.io. */
  const backendOf = new Map<string, Backend>()

  /** The session of a request: `sid` in its query. The first request of a session, the handshake, has none. */
  const sessionOf = (target: string) => /[?&]sid=([\w-]+)/.exec(target)?.[1]

  /** Reads the session from the response to a handshake: `0{"sid":"...",...}`. */
  const learnSession: Interceptor = {
    name: 'learn-session',
    wrap: (next) => (exchange, request, body, sink) => {
      if (sessionOf(exchange.target) !== undefined) return next(exchange, request, body, sink)
      const onData = (chunk: Buffer) => {
        const sid = /^0\{"sid":"([\w-]+)"/.exec(chunk.toString('latin1'))?.[1]
        if (sid !== undefined && exchange.backend !== null) backendOf.set(sid, exchange.backend)
        return sink.onData(chunk)
      }
      next(exchange, request, body, wrapSink(sink, { onData }))
    },
  }

  /** Clients end sessions without a word, so the oldest ones are forgotten. A session that is used moves to the end. */
  const MAX_SESSIONS = 100_000

  const sticky: Affinity = {
    name: 'session',
    // A session lives in the memory of one backend: nobody else can serve it.
    onLost: 'refuse',
    find(exchange) {
      const sid = sessionOf(exchange.target)
      const backend = sid === undefined ? undefined : backendOf.get(sid)
      if (sid === undefined || backend === undefined) return null
      backendOf.delete(sid)
      backendOf.set(sid, backend)
      if (backendOf.size > MAX_SESSIONS) backendOf.delete(backendOf.keys().next().value ?? '')
      return backend
    },
    bind() {},
  }

  return createProxy({ backends, affinity: sticky, routes: [{ interceptors: [learnSession] }], logger })
}
