import * as net from 'node:net'
import * as tls from 'node:tls'
import { answerAfterBody, Conversation, type ConversationOwner } from './mock-conversation.ts'
import type { MockReply, MockRequest, MockScript, MockStep } from './mock-script.ts'

/** How a mock backend listens. */
export interface MockBackendOptions {
  /** Address to listen on, and the host of the URL. Default `127.0.0.1`. */
  readonly host?: string | undefined
  /** Default 0: any free port. */
  readonly port?: number | undefined
  /** Listen on a unix socket in place of a port. */
  readonly socketPath?: string | undefined
  /** Use TLS, with this key and certificate. */
  readonly tls?: tls.TlsOptions | undefined
  /**
   * Called with each connection, after its TLS handshake and before the first read. A test can break the connection
   * here.
   */
  readonly onConnection?: ((socket: net.Socket) => void) | undefined
}

/** A real server for tests, on raw sockets, so that it can misbehave at the byte level. */
export interface MockBackend extends AsyncDisposable {
  /** URL for `createProxy()`, without a trailing slash. */
  readonly url: string
  /** 0 for a unix socket. */
  readonly port: number
  /** All requests whose head has arrived, in that order. */
  readonly requests: readonly MockRequest[]
  /** Descriptions of malformed requests, which get 400. With a correct proxy this list is empty. */
  readonly faults: readonly string[]
  /**
   * Errors that handlers threw; their connections were closed. {@link close} rejects with the first one, so that no
   * test misses it.
   */
  readonly scriptErrors: unknown[]
  /** Number of connections so far, including closed ones. */
  readonly connections: number
  /** Number of connections that are open now. */
  readonly openConnections: number
  /** Waits for the first complete request that no earlier call has returned. Rejects when the backend is closed. */
  nextRequest(): Promise<MockRequest>
  /** Like {@link nextRequest}, but resolves as soon as the head has arrived. It counts separately. */
  nextRequestHead(): Promise<MockRequest>
  /** Resolves when exactly `count` connections are open. */
  untilOpenConnections(count: number): Promise<void>
  /** Replaces the script, from the next request on. */
  use(script: MockScript): void
  /** FIN on every connection that carries no request. */
  closeIdle(): void
  /** Simulates a crash: stops listening and destroys all connections. */
  stop(): Promise<void>
  /** Starts again on the same port, after {@link stop} if necessary. */
  restart(): Promise<void>
  /** Stops for good. Idempotent. */
  close(): Promise<void>
}

/** Starts a mock backend. Default script: 200, `text/plain`, the method and path as the body. */
export async function mockBackend(
  script: MockScript = describeRequest,
  options: MockBackendOptions = {},
): Promise<MockBackend> {
  const { host = '127.0.0.1', socketPath } = options
  const requests: MockRequest[] = []
  const faults: string[] = []
  const scriptErrors: unknown[] = []
  const open = new Set<Conversation>()
  const sockets = new Set<net.Socket>()
  const complete = queue<MockRequest>()
  const heads = queue<MockRequest>()
  const countWaiters = new Set<{ count: number; resolve: () => void }>()
  let steps = asSteps(script)
  let connections = 0
  let port = options.port ?? 0
  let server: net.Server | null = null

  const owner: ConversationOwner = {
    nextStep: () => (steps.length > 1 ? (steps.shift() as MockStep) : (steps[0] ?? describeRequest)),
    onHead(request) {
      requests.push(request)
      heads.push(request)
    },
    onComplete: complete.push,
    onFault: (fault) => void faults.push(fault),
    onScriptError: (error) => void scriptErrors.push(error),
  }

  function resolveCountWaiters(): void {
    for (const waiter of countWaiters) {
      if (waiter.count !== open.size) continue
      countWaiters.delete(waiter)
      waiter.resolve()
    }
  }

  function converse(socket: net.Socket, tcp: net.Socket): void {
    options.onConnection?.(socket)
    const conversation = new Conversation(++connections, socket, tcp, owner)
    open.add(conversation)
    resolveCountWaiters()
    conversation.closed.then(() => {
      open.delete(conversation)
      resolveCountWaiters()
    })
  }

  async function start(): Promise<void> {
    const { tls: tlsOptions } = options
    const secureContext = tlsOptions && tls.createSecureContext(tlsOptions)
    // With `allowHalfOpen` the script decides how a connection ends.
    server = net.createServer({ allowHalfOpen: true, noDelay: true }, (tcp) => {
      sockets.add(tcp)
      tcp.on('error', ignore).once('close', () => sockets.delete(tcp))
      if (secureContext === undefined) {
        converse(tcp, tcp)
        return
      }
      // tls.createServer() would hide the TCP socket, which is needed to send RST.
      const socket = new tls.TLSSocket(tcp, { ...tlsOptions, isServer: true, secureContext })
      socket.on('error', ignore).once('secure', () => converse(socket, tcp))
    })
    const listening = server
    await new Promise<void>((resolve, reject) => {
      listening.once('error', reject)
      listening.listen(socketPath === undefined ? { port, host } : { path: socketPath }, resolve)
    })
    listening.on('error', ignore)
    if (socketPath === undefined) port = (listening.address() as net.AddressInfo).port
  }

  async function stop(): Promise<void> {
    const closing = server
    if (closing === null) return
    server = null
    const closed = new Promise<void>((resolve) => closing.close(() => resolve()))
    for (const conversation of open) conversation.destroy()
    for (const socket of sockets) socket.destroy()
    await closed
    await Promise.all(Array.from(open, (conversation) => conversation.closed))
  }

  async function close(): Promise<void> {
    await stop()
    complete.close()
    heads.close()
    if (scriptErrors.length > 0) throw scriptErrors.splice(0)[0]
  }

  await start()
  const scheme = options.tls === undefined ? 'http' : 'https'
  return {
    url:
      socketPath === undefined
        ? `${scheme}://${net.isIPv6(host) ? `[${host}]` : host}:${port}`
        : `http+unix://${socketPath.split('/').map(encodeURIComponent).join('/')}`,
    get port() {
      return port
    },
    requests,
    faults,
    scriptErrors,
    get connections() {
      return connections
    },
    get openConnections() {
      return open.size
    },
    nextRequest: complete.next,
    nextRequestHead: heads.next,
    untilOpenConnections: (count) =>
      new Promise((resolve) => {
        if (open.size === count) resolve()
        else countWaiters.add({ count, resolve })
      }),
    use(next) {
      steps = asSteps(next)
    },
    closeIdle() {
      for (const conversation of open) conversation.closeIfIdle()
    },
    stop,
    async restart() {
      await stop()
      await start()
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/**
 * A port and URL on loopback that refuses connections. It is the local port of an open connection, which stays open as long as
 * the process lives. The port of a closed server could be reused by another process a moment later.
 */
export async function deadPort(): Promise<{ readonly port: number; readonly url: string }> {
  const server = net.createServer().unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve))
  const to = (server.address() as net.AddressInfo).port
  let near = await connectFrom(somePort(), to)
  while (near === null) near = await connectFrom(somePort(), to)
  const far = await accepted
  for (const socket of [near, far]) socket.on('error', ignore).unref()
  server.close()
  const port = far.remotePort as number
  return { port, url: `http://127.0.0.1:${port}` }
}

/**
 * A port that the system gives to no client by itself (Linux begins with 32768, others later). A client that connects to its
 * own port is connected, to itself: with a port of that range, one in 28,000 connections to it would not be refused.
 */
function somePort(): number {
  return 10_000 + Math.floor(Math.random() * 22_000)
}

/** Connects on loopback from a local port; `null` if that is in use. */
function connectFrom(localPort: number, port: number): Promise<net.Socket | null> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, localPort })
    socket.once('connect', () => resolve(socket)).once('error', () => resolve(null))
  })
}

/** The default script: responds with the method and path. */
function describeRequest(request: MockRequest, reply: MockReply): Promise<void> {
  const body = `${request.method} ${request.path}`
  return answerAfterBody(request, reply, { headers: ['Content-Type', 'text/plain'], body })
}

const CLOSED = 'the mock backend was closed before another request arrived'

/** Hands out values in order. A value may be pushed before or after it is asked for. */
function queue<Value>(): { push: (value: Value) => void; next: () => Promise<Value>; close: () => void } {
  const values: Value[] = []
  const takers: { resolve: (value: Value) => void; reject: (error: Error) => void }[] = []
  let isClosed = false
  return {
    push(value) {
      const taker = takers.shift()
      if (taker === undefined) values.push(value)
      else taker.resolve(value)
    },
    next() {
      const value = values.shift()
      if (value !== undefined) return Promise.resolve(value)
      if (isClosed) return Promise.reject(new Error(CLOSED))
      const promise = new Promise<Value>((resolve, reject) => takers.push({ resolve, reject }))
      // An abandoned promise must not cause an unhandled rejection.
      promise.catch(ignore)
      return promise
    },
    close() {
      isClosed = true
      for (const taker of takers.splice(0)) taker.reject(new Error(CLOSED))
    },
  }
}

function asSteps(script: MockScript): MockStep[] {
  return Array.isArray(script) ? [...(script as readonly MockStep[])] : [script as MockStep]
}

function ignore(): void {}
