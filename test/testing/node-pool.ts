import http from 'node:http'
import type net from 'node:net'
import type { BodySource, Flow, Lease, Pool, ResponseSink } from '../../src/contracts/pool.ts'
import type { Backend } from '../../src/model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../../src/model/errors.ts'
import type { ExchangeView } from '../../src/model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../../src/model/message.ts'

interface Waiter {
  readonly backend: Backend
  readonly give: (connection: Lease) => void
}

/** A small pool on node:http, as a user might write one. Each connection is an agent that may have one socket. */
export function nodePool(maxConnections: number, maxWaiting: number): Pool {
  const all = new Set<NodeConnection>()
  const waiters: Waiter[] = []
  const counts = new Map<Backend, { opened: number; reused: number }>()
  const emptied = new Set<() => void>()
  const draining = new Set<Backend>()
  let isClosed = false
  const of = (backend: Backend) => Array.from(all).filter((connection) => connection.backend === backend)

  function lease(backend: Backend): Lease | null {
    let connection = of(backend).find((one) => one.isIdle)
    if (connection === undefined) {
      if (of(backend).length >= maxConnections) return null
      connection = new NodeConnection(backend, onBack, onGone)
      all.add(connection)
    }
    const count = counts.get(backend) ?? { opened: 0, reused: 0 }
    counts.set(backend, count)
    const leased = connection.lease()
    count[leased.isReused ? 'reused' : 'opened']++
    return leased
  }

  function onBack(connection: NodeConnection): void {
    const next = waiters.findIndex((waiter) => waiter.backend === connection.backend)
    if (next < 0 && (isClosed || draining.has(connection.backend))) connection.destroy()
    serve()
  }
  function onGone(connection: NodeConnection): void {
    all.delete(connection)
    serve()
    for (const check of emptied) check()
  }
  function serve(): void {
    for (const waiter of [...waiters]) {
      const connection = lease(waiter.backend)
      if (connection === null) return
      waiters.splice(waiters.indexOf(waiter), 1)
      waiter.give(connection)
    }
  }
  function untilGone(concerns: (connection: NodeConnection) => boolean): Promise<void> {
    for (const connection of all) if (concerns(connection) && !connection.isLeased) connection.destroy()
    return new Promise((resolve) => {
      const check = (): void => {
        if (!Array.from(all).some(concerns)) resolve()
      }
      emptied.add(check)
      check()
    })
  }

  return {
    acquire(backend: Backend, exchange: ExchangeView) {
      if (isClosed) return Promise.reject(new ProxyError('ERR_PROXY_CLOSED', 'closed', { backend }))
      const connection = lease(backend)
      if (connection !== null) return connection
      if (waiters.length >= maxWaiting)
        return Promise.reject(new ProxyError('ERR_PROXY_POOL_FULL', 'full', { backend }))
      return new Promise((give, reject) => {
        const waiter = { backend, give }
        waiters.push(waiter)
        exchange.signal.addEventListener('abort', () => {
          const at = waiters.indexOf(waiter)
          if (at >= 0) waiters.splice(at, 1)
          reject(new ProxyError('ERR_PROXY_CLIENT_GONE', 'aborted', { backend }))
        })
      })
    },
    stats: () => ({
      backends: Array.from(counts, ([backend, { opened, reused }]) => ({
        backend: backend.id,
        connections: of(backend).length,
        idle: of(backend).filter((one) => one.isIdle).length,
        connecting: 0,
        waiting: waiters.filter((waiter) => waiter.backend === backend).length,
        opened,
        reused,
      })),
    }),
    drain(backend) {
      draining.add(backend)
      return untilGone((connection) => connection.backend === backend)
    },
    close() {
      isClosed = true
      return untilGone(() => true)
    },
    destroy() {
      isClosed = true
      for (const connection of all) connection.destroy()
    },
  }
}

class NodeConnection {
  readonly backend: Backend
  isLeased = false
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  readonly #onBack: (connection: NodeConnection) => void
  readonly #onGone: (connection: NodeConnection) => void
  #socket: net.Socket | null = null
  #isGone = false
  #leases = 0
  #request: http.ClientRequest | null = null

  constructor(backend: Backend, onBack: NodeConnection['destroyWith'], onGone: NodeConnection['destroyWith']) {
    this.backend = backend
    this.#onBack = onBack
    this.#onGone = onGone
  }
  declare readonly destroyWith: (connection: NodeConnection) => void

  get isIdle(): boolean {
    return !this.isLeased && !this.#isGone && Object.keys(this.#agent.freeSockets).length > 0
  }

  lease(): Lease {
    this.isLeased = true
    const isReused = this.#leases++ > 0
    let isReleased = false
    let isComplete = false
    let isEnded = false
    return {
      isReused,
      send: (head, body, sink) => {
        const only = (call: () => void): void => {
          if (isReleased || isEnded) return
          call()
        }
        const end = (call: () => void): void =>
          only(() => {
            isEnded = true
            call()
          })
        this.#send(head, body, sink, {
          only,
          fail: (error) => end(() => sink.onError(error)),
          complete: (trailers) => {
            isComplete = true
            end(() => sink.onEnd(trailers))
          },
        })
      },
      release: () => {
        if (isReleased) return
        isReleased = true
        this.isLeased = false
        if (!isComplete || this.#request?.writableFinished !== true) this.destroy()
        // A socket goes back to its agent on the next tick.
        process.nextTick(() => {
          if (this.isLeased) return
          if (!this.isIdle) this.destroy()
          this.#onBack(this)
        })
      },
    }
  }

  destroy(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#request?.destroy()
    this.#agent.destroy()
    if (this.#socket === null || this.#socket.closed) process.nextTick(() => this.#onGone(this))
    else this.#socket.once('close', () => this.#onGone(this))
  }

  #send(head: RequestHead, body: BodySource | null, sink: ResponseSink, ends: Ends): void {
    const { hostname, port } = this.backend.endpoint
    const headers = [...head.headers]
    if (body !== null) {
      if (body.bytes < 0) headers.push('Transfer-Encoding', 'chunked')
      else headers.push('Content-Length', String(body.bytes))
    }
    let incoming: http.IncomingMessage | null = null
    const fail = (cause?: NodeJS.ErrnoException): void => {
      const code = codeOf(cause, incoming !== null)
      const details = { backend: this.backend, ...(cause === undefined ? {} : { cause }) }
      ends.fail(new ProxyError(code, `${code} ${cause?.message ?? ''}`, details))
    }
    const { method, path } = head
    const request = http.request({ agent: this.#agent, host: hostname, port, method, path, headers, setHost: false })
    this.#request = request
    request
      .on('socket', (socket) => {
        if (this.#socket === socket) return
        this.#socket = socket
        socket.once('close', () => {
          if (!this.isLeased) this.destroy()
        })
      })
      .on('information', ({ statusCode, statusMessage, rawHeaders }) => {
        const known = { status: statusCode, reason: statusMessage, headers: rawHeaders, bodyBytes: 0 }
        if (statusCode !== 100) ends.only(() => sink.onInformational(known))
      })
      .on('response', (response) => {
        incoming = response
        const flow: Flow = { resume: () => void response.resume(), retain() {} }
        ends.only(() => sink.onHead(headOf(response, method), flow))
        response
          .on('data', (chunk: Buffer) =>
            ends.only(() => {
              if (!sink.onData(chunk)) response.pause()
              sink.onFlush()
            }),
          )
          .on('end', () => ends.complete(response.rawTrailers.length === 0 ? null : response.rawTrailers))
          .on('error', fail)
          .on('close', () => fail())
      })
      .on('error', fail)
      .on('close', () => {
        if (incoming === null) fail()
      })
    if (body === null) request.end()
    else {
      const start = (): void =>
        body.start({
          onBody: (chunk) => request.write(chunk),
          onBodyEnd: (trailers) => {
            if (trailers !== null) request.addTrailers(trailers as unknown as http.OutgoingHttpHeaders)
            request.end()
          },
        })
      request.on('drain', () => body.resume())
      if (body.expectsContinue) {
        request.flushHeaders()
        request.on('continue', start)
      } else {
        request.flushHeaders()
        start()
      }
    }
  }
}

interface Ends {
  only(call: () => void): void
  fail(error: ProxyError): void
  complete(trailers: string[] | null): void
}

function headOf(response: http.IncomingMessage, method: string): ResponseHead {
  const { statusCode = 0, statusMessage = '', rawHeaders } = response
  const length = response.headers['content-length']
  const isBodiless = method === 'HEAD' || statusCode === 204 || statusCode === 304
  const bodyBytes = isBodiless ? 0 : length === undefined ? -1 : Number(length)
  return { status: statusCode, reason: statusMessage, headers: rawHeaders, bodyBytes }
}

function codeOf(cause: NodeJS.ErrnoException | undefined, hasHead: boolean): ProxyErrorCode {
  if (hasHead) return 'ERR_PROXY_TRUNCATED'
  if (cause?.syscall === 'connect') return 'ERR_PROXY_CONNECT'
  return cause?.code?.startsWith('HPE_') ? 'ERR_PROXY_BAD_RESPONSE' : 'ERR_PROXY_RESET'
}
