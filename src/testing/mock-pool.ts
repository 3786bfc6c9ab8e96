import type { BackendPoolStats, BodySource, Flow, Lease, Pool, ResponseSink } from '../contracts/pool.ts'
import type { Backend } from '../model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import type { Outcome } from '../model/outcome.ts'
import { flatHeaders, type MockHeaders } from './mock-headers.ts'

/** A request that a {@link mockPool} was asked to send. */
export interface MockPoolRequest {
  /** The backend that was picked. */
  readonly backend: Backend
  /** The exchange that the request belongs to. */
  readonly exchange: ExchangeView
  /** The head as a backend would get it. */
  readonly head: RequestHead
  /** Complete before the script is called; empty if there is none, or if `readsBody` is false. */
  readonly body: Buffer
  /** Those of the request; `null` if there are none. */
  readonly trailers: HeaderList | null
}

/** A response of a {@link mockPool}. */
export interface MockPoolAnswer {
  /** 1xx heads before the response. */
  readonly informational?: readonly { readonly status: number; readonly headers?: MockHeaders }[] | undefined
  /** Default 200. */
  readonly status?: number | undefined
  /** Default empty. */
  readonly reason?: string | undefined
  /** `Content-Length` is added, or `Transfer-Encoding: chunked` if there are `chunks`, unless the headers have either. */
  readonly headers?: MockHeaders | undefined
  /** The whole body. Default empty. */
  readonly body?: string | Uint8Array | undefined
  /** In place of `body`: pieces that arrive one after another, of unknown total length. */
  readonly chunks?: readonly (string | Uint8Array)[] | undefined
  /** Trailers after the body. Default none. */
  readonly trailers?: MockHeaders | undefined
  /** Ends the response in place of a regular end: a truncated response. */
  readonly error?: ProxyError | undefined
}

/** A response, or an error in place of a response. */
export type MockPoolStep = MockPoolAnswer | ProxyError
/** Responds to each request. A promise simulates a slow backend. */
export type MockPoolScript =
  | MockPoolStep
  | readonly MockPoolStep[]
  | ((request: MockPoolRequest) => MockPoolStep | Promise<MockPoolStep>)

/** Options of a {@link mockPool}. */
export interface MockPoolOptions {
  /** Initial value of {@link MockPool.isReused}. Default false. */
  readonly isReused?: boolean | undefined
  /** `false`: responds without reading the body, like a backend that refuses it. Default true. */
  readonly readsBody?: boolean | undefined
  /** Called at each lease. An error refuses the lease; a promise makes the exchange wait. Default: a lease at once. */
  readonly acquire?:
    | ((backend: Backend, exchange: ExchangeView) => ProxyError | null | Promise<ProxyError | null>)
    | undefined
}

/** An event of a {@link mockPool}. */
export type MockPoolEvent =
  | { readonly type: 'acquire'; readonly backend: Backend; readonly exchange: ExchangeView }
  | { readonly type: 'send'; readonly backend: Backend; readonly exchange: ExchangeView }
  | {
      readonly type: 'release'
      readonly backend: Backend
      readonly exchange: ExchangeView
      /** A copy, since the proxy may change the object. */
      readonly outcome: Outcome
    }

/** A {@link Pool} that records its calls. */
export interface MockPool extends Pool {
  /** Leases, sends and releases, in order. A repeated release is not recorded. */
  readonly events: readonly MockPoolEvent[]
  /** The requests sent, each once its body has been read. */
  readonly requests: readonly MockPoolRequest[]
  /** Number of current leases. */
  readonly leased: number
  /** `isReused` of the next leases. */
  isReused: boolean
}

/**
 * A pool without sockets. It follows the contract and checks that the proxy does: it never responds from within `send()`, waits
 * for `resume()` after `onData` returned `false`, overwrites a chunk after the call unless it was retained, makes no calls after
 * `release()`, and throws if `send()` is called twice or after the release.
 * @param script one response for all requests, a list (the last one stays), or a function. Default: an empty 200.
 */
export function mockPool(script: MockPoolScript = {}, options: MockPoolOptions = {}): MockPool {
  const events: MockPoolEvent[] = []
  const requests: MockPoolRequest[] = []
  const stats = new Map<Backend, { opened: number; reused: number; waiting: number }>()
  const connections = new Set<MockConnection>()
  const releaseListeners = new Set<() => void>()
  const steps = Array.isArray(script) ? [...(script as readonly MockPoolStep[])] : null
  let isClosed = false

  const owner: ConnectionOwner = {
    readsBody: options.readsBody ?? true,
    onSend: (backend, exchange) => void events.push({ type: 'send', backend, exchange }),
    async respond(request) {
      requests.push(request)
      if (typeof script === 'function') return script(request)
      if (steps === null) return script as MockPoolStep
      return (steps.length > 1 ? steps.shift() : steps[0]) ?? {}
    },
    onRelease(connection, outcome) {
      connections.delete(connection)
      const { kind, status, grpcStatus, error, firstByteMs, totalMs } = outcome
      const copy = { kind, status, grpcStatus, error, firstByteMs, totalMs }
      events.push({ type: 'release', backend: connection.backend, exchange: connection.exchange, outcome: copy })
      for (const listener of releaseListeners) listener()
    },
  }

  function statsOf(backend: Backend): { opened: number; reused: number; waiting: number } {
    let counts = stats.get(backend)
    if (counts === undefined) {
      counts = { opened: 0, reused: 0, waiting: 0 }
      stats.set(backend, counts)
    }
    return counts
  }

  function lease(backend: Backend, exchange: ExchangeView): MockConnection {
    const connection = new MockConnection(backend, exchange, pool.isReused, owner)
    connections.add(connection)
    statsOf(backend)[pool.isReused ? 'reused' : 'opened']++
    events.push({ type: 'acquire', backend, exchange })
    return connection
  }

  async function leaseLater(
    backend: Backend,
    exchange: ExchangeView,
    verdict: ProxyError | null | Promise<ProxyError | null>,
  ): Promise<Lease> {
    const { signal } = exchange
    let onAbort = (): void => {}
    const aborted = new Promise<ProxyError>((resolve) => {
      onAbort = () => resolve(poolError('ERR_PROXY_CLIENT_GONE', backend, 'is not needed any more'))
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
    statsOf(backend).waiting++
    try {
      const error = await Promise.race([aborted, verdict])
      if (error !== null) throw error
      if (isClosed) throw poolError('ERR_PROXY_CLOSED', backend, 'was not reached: the pool was closed')
      return lease(backend, exchange)
    } finally {
      statsOf(backend).waiting--
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Resolves when no connection that `matches` is leased. */
  function untilReleased(matches: (connection: MockConnection) => boolean): Promise<void> {
    return new Promise((resolve) => {
      function check(): void {
        for (const connection of connections) if (matches(connection)) return
        releaseListeners.delete(check)
        resolve()
      }
      releaseListeners.add(check)
      check()
    })
  }

  const pool: MockPool = {
    events,
    requests,
    isReused: options.isReused ?? false,
    get leased() {
      return connections.size
    },
    acquire(backend, exchange) {
      if (isClosed) {
        return Promise.reject(poolError('ERR_PROXY_CLOSED', backend, 'was not reached: the pool was closed'))
      }
      const verdict = options.acquire?.(backend, exchange) ?? null
      return verdict === null ? lease(backend, exchange) : leaseLater(backend, exchange, verdict)
    },
    stats: () => ({
      backends: Array.from(stats, ([backend, { opened, reused, waiting }]): BackendPoolStats => {
        const leased = Array.from(connections).filter((connection) => connection.backend === backend).length
        return { backend: backend.id, connections: leased, idle: 0, connecting: 0, waiting, opened, reused }
      }),
    }),
    drain: (backend) => untilReleased((connection) => connection.backend === backend),
    close() {
      isClosed = true
      return untilReleased(() => true)
    },
    destroy() {
      isClosed = true
      for (const connection of connections) connection.break()
    },
  }
  return pool
}

/** The pool of a {@link MockConnection}. */
interface ConnectionOwner {
  readonly readsBody: boolean
  onSend(backend: Backend, exchange: ExchangeView): void
  respond(request: MockPoolRequest): Promise<MockPoolStep>
  onRelease(connection: MockConnection, outcome: Outcome): void
}

/** Overwrites a chunk that was not retained. */
const POISON = 0xdd

class MockConnection implements Lease, Flow {
  readonly backend: Backend
  readonly exchange: ExchangeView
  readonly isReused: boolean
  readonly #owner: ConnectionOwner
  #sink: ResponseSink | null = null
  #isSent = false
  #isReleased = false
  #isRetained = false
  #goOn: (() => void) | null = null

  constructor(backend: Backend, exchange: ExchangeView, isReused: boolean, owner: ConnectionOwner) {
    this.backend = backend
    this.exchange = exchange
    this.isReused = isReused
    this.#owner = owner
  }

  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void {
    if (this.#isSent) throw new Error('send() was called twice on one lease')
    if (this.#isReleased) throw new Error('send() was called after release()')
    this.#isSent = true
    this.#sink = sink
    this.#owner.onSend(this.backend, this.exchange)
    const head = { ...request, headers: [...request.headers] }
    // Not caught: an error of a sink or the script is a bug in the test or the proxy, and must be seen.
    void this.#exchange(head, this.#owner.readsBody ? body : null)
  }

  resume(): void {
    const goOn = this.#goOn
    this.#goOn = null
    goOn?.()
  }

  retain(): void {
    this.#isRetained = true
  }

  release(outcome: Outcome): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#sink = null
    this.resume()
    this.#owner.onRelease(this, outcome)
  }

  /** The pool is destroyed. */
  break(): void {
    this.#fail(poolError('ERR_PROXY_RESET', this.backend, 'was disconnected by us'))
  }

  async #exchange(head: RequestHead, source: BodySource | null): Promise<void> {
    // Waits for a microtask, so as not to respond from within send().
    await null
    const { body, trailers } = await this.#read(source)
    if (this.#sink === null) return
    const { backend, exchange } = this
    const step = await this.#owner.respond({ backend, exchange, head, body, trailers })
    if (step instanceof ProxyError) this.#fail(step)
    else await this.#deliver(step, head.method)
  }

  #read(source: BodySource | null): Promise<{ body: Buffer; trailers: HeaderList | null }> {
    if (source === null) return Promise.resolve({ body: Buffer.alloc(0), trailers: null })
    const chunks: Buffer[] = []
    if (source.expectsContinue) this.#sink?.onInformational(responseHead(100, 'Continue', [], 0))
    return new Promise((resolve) => {
      source.start({
        onBody(chunk) {
          chunks.push(chunk)
          return true
        },
        onBodyEnd: (trailers) => resolve({ body: Buffer.concat(chunks), trailers }),
      })
    })
  }

  async #deliver(answer: MockPoolAnswer, method: string): Promise<void> {
    const { status = 200, reason = '', body = '', trailers, error } = answer
    for (const { status, headers } of answer.informational ?? []) {
      this.#sink?.onInformational(responseHead(status, '', flatHeaders(headers), 0))
    }
    const headers = flatHeaders(answer.headers)
    const isBodiless = method === 'HEAD' || status === 204 || status === 304
    const chunks = (answer.chunks ?? [body])
      .map((chunk) => Buffer.from(chunk as string))
      .filter((chunk) => chunk.length > 0)
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    const bodyBytes = addFraming(headers, answer.chunks !== undefined || trailers !== undefined, bytes, status)
    this.#sink?.onHead(responseHead(status, reason, headers, isBodiless ? 0 : bodyBytes), this)
    if (!isBodiless && chunks.length > 0) {
      this.#sink?.onFlush()
      for (const chunk of chunks) await this.#deliverChunk(chunk)
    }
    const sink = this.#sink
    this.#sink = null
    if (error !== undefined) sink?.onError(error)
    else sink?.onEnd(trailers === undefined ? null : flatHeaders(trailers))
  }

  async #deliverChunk(chunk: Buffer): Promise<void> {
    const sink = this.#sink
    if (sink === null) return
    this.#isRetained = false
    const wantsMore = sink.onData(chunk)
    if (!this.#isRetained) chunk.fill(POISON)
    this.#sink?.onFlush()
    if (!wantsMore && this.#sink !== null) {
      await new Promise<void>((resolve) => {
        this.#goOn = resolve
      })
    }
  }

  #fail(error: ProxyError): void {
    const sink = this.#sink
    this.#sink = null
    sink?.onError(error)
    this.resume()
  }
}

/** @returns the length of the body by the head; -1 if it is unknown. */
function addFraming(headers: HeaderList, isChunked: boolean, bytes: number, status: number): number {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]?.toLowerCase()
    if (name === 'content-length') return Number(headers[i + 1])
    if (name === 'transfer-encoding') return -1
  }
  if (status === 204 || status === 304) return 0
  if (isChunked) headers.push('Transfer-Encoding', 'chunked')
  else headers.push('Content-Length', String(bytes))
  return isChunked ? -1 : bytes
}

function responseHead(status: number, reason: string, headers: HeaderList, bodyBytes: number): ResponseHead {
  return { status, reason, headers, bodyBytes }
}

function poolError(code: ProxyErrorCode, backend: Backend, what: string): ProxyError {
  return new ProxyError(code, `backend ${backend.id} ${what}`, { backend })
}
