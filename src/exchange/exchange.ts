import { clientAddressOf, clientProtocolOf } from '../headers/client-address.ts'
import type { RequestHeaders } from '../headers/request.ts'
import { fieldValue, removeField } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList, Timeouts } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'
import type { OutcomeKind } from '../model/outcome.ts'
import { type Resolution, takesSameRoute } from '../routing/resolve.ts'
import { accept, bodyLimitFault } from './accept.ts'
import type { Attempt } from './attempt.ts'
import { Attempts } from './attempts.ts'
import type { ExchangeCall } from './call.ts'
import { ClientWatch } from './client-watch.ts'
import type { Front, FrontBody } from './front.ts'
import { type GrpcCall, grpcCallOf } from './grpc.ts'
import { abortClient, respondLocally, respondToFailure } from './local-response.ts'
import { routedHead } from './outgoing.ts'
import { recordExchange } from './record.ts'
import { ReplayableBody } from './replayable-body.ts'
import { Responder } from './responder.ts'
import type { Core, Services } from './services.ts'
import type { Route, Snapshot } from './snapshot.ts'

/** The reason of an aborted `signal`, equal to node's own. Shared, because a stack trace per exchange would cost 5 us. */
const OVER = new DOMException('This operation was aborted', 'AbortError')

/**
 * One client request and its handling, from acceptance to record:
 *
 *     1 accept -> 2 resolve -> [ interceptors ] -> 3 pick -> 4 lease -> 5 send -> 6 judge -> 7 respond -> 8 record
 *                                                    ^________ retry _____________|
 *
 * This class holds its identity, its time limits, and its single end. Steps 3 to 6 are {@link Attempts}, step 7 is {@link Responder}.
 * A request that finds an idle connection creates no promise, timer or closure.
 */
export class Exchange implements ExchangeView {
  readonly id: number
  readonly method: string
  readonly target: string
  path = ''
  readonly headers: Readonly<HeaderList>
  readonly upgrade: string | null
  readonly startedAt: number
  readonly services: Services
  readonly snapshot: Snapshot
  readonly front: Front
  readonly request: RequestHeaders
  readonly body: ReplayableBody | null
  readonly call: ExchangeCall | null
  readonly context: unknown
  readonly clientCertificate: ExchangeView['clientCertificate']
  readonly grpc: GrpcCall | null
  readonly client: ClientWatch
  timeouts: Timeouts
  attempts = 0
  isRetry = false
  backend: Backend | null = null
  requestBytes = 0
  responseBytes = 0
  status = 0
  firstByteMs = -1
  backendMs = 0
  /** The running attempts, the latest first. There is more than one if an interceptor has called `next` more than once. */
  running: Attempts | null = null
  isEnded = false
  /** The route; `null` until step 2. An interceptor may choose another group, and so replace it. */
  route: Route | null = null
  /** Why the attempts have failed, while an interceptor may still respond in their place. */
  failure: ProxyError | null = null
  /** Receives the front's events about its client. */
  readonly events: Responder
  #abort: AbortController | null = null

  constructor(
    { services, snapshot }: Core,
    front: Front,
    request: RequestHeaders,
    body: FrontBody | null,
    call: ExchangeCall | null,
    upgrade: string | null = null,
  ) {
    this.id = services.activity.begin()
    this.method = front.method
    this.target = front.target
    this.headers = request.counted
    this.upgrade = upgrade
    this.startedAt = services.clock.now()
    this.services = services
    this.snapshot = snapshot
    this.front = front
    this.request = request
    this.call = call
    this.context = call?.context
    this.clientCertificate = front.peer.identity?.certificate ?? null
    this.grpc = grpcCallOf(front, request.counted)
    this.timeouts = snapshot.timeouts
    if (body?.isDecoded === true) removeField(request.list, 'content-encoding')
    if (body?.expectsContinue === true) request.list.push('Expect', '100-continue')
    this.client = new ClientWatch(this)
    this.body =
      body === null ? null : new ReplayableBody(body, snapshot.limits.replayBytes, this.client, request.counted)
    this.events = new Responder(this)
    services.deadlines.add(this.client)
    if (services.observers.has('onRequest')) services.observers.notify('onRequest', this)
  }

  get host(): string {
    return this.request.host
  }

  get protocol(): 'http' | 'https' {
    return clientProtocolOf(this.front.peer, this.request.forwardedProto)
  }

  get clientAddress(): string {
    return clientAddressOf(this.front.peer, this.request.forwardedFor, this.snapshot.forwarding.isTrusted)
  }

  get group(): string {
    return this.route?.group.name ?? ''
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.isEnded) this.#abort.abort(OVER)
    return this.#abort.signal
  }

  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }

  takesSameRoute(method: string, target: string): boolean {
    return takesSameRoute(this.snapshot.router, this.request, this, { method, target })
  }

  /** Calls in the async context of the request. It allocates an array, so it is not used for each piece of a body. */
  enter<Args extends unknown[]>(call: (...args: Args) => void, self: object, ...args: Args): void {
    const { scope } = this.front
    if (scope === null) call.apply(self, args)
    else scope.runInAsyncScope(call, self, ...args)
  }

  /** Starts the exchange, from step 1. @param found the resolution of the request's target, if the front has resolved it already. */
  begin(found: Resolution<Route> | null = null): void {
    // 1 accept
    const refused = accept(this)
    if (refused instanceof ProxyError) return this.fail(refused)
    if (refused !== null) return respondLocally(this, refused)
    // 2 resolve
    const head = this.#resolve(found)
    if (head instanceof ProxyError) return this.fail(head)
    const handler = this.route?.handler ?? null
    if (handler === null) return this.run(new Attempts(this, this.route as Route, head, this.body, this.events))
    this.services.activity.intercepted.add(this)
    this.client.awaitInterceptors()
    handler(this, head, this.body, this.events)
  }

  #resolve(found: Resolution<Route> | null): RequestHead | ProxyError {
    const { call, request, snapshot } = this
    const resolution = found ?? snapshot.router.resolve(this.method, this.target, request.host, request.isHostSet)
    if (resolution.fault !== null) {
      return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${resolution.fault}`)
    }
    this.path = resolution.path
    const route = call?.routeFor === undefined ? resolution.route : call.routeFor(resolution.route)
    if (route === null) return new ProxyError('ERR_PROXY_NO_ROUTE', 'no route matches the request')
    if (route instanceof ProxyError) return route
    this.useRoute(route)
    return bodyLimitFault(request.bodyBytes ?? 0, snapshot.limits) ?? routedHead(this, route, resolution)
  }

  /** Uses the route, its group and its time limits from now on. */
  useRoute(route: Route): void {
    const { call } = this
    route.group.enter()
    this.route?.group.leave()
    this.route = route
    const timeouts = call?.timeouts === undefined ? route.timeouts : { ...route.timeouts, ...call.timeouts }
    this.timeouts = this.grpc?.within(timeouts) ?? timeouts
    this.client.beginTotal()
  }

  /** Runs steps 3 to 6, inside all interceptors of the route. */
  run(attempts: Attempts): void {
    attempts.earlier = this.running
    this.running = attempts
    this.client.stopAwaiting()
    attempts.next()
  }

  onAttempt(attempt: Attempt, isRetry: boolean): void {
    this.attempts = attempt.number
    this.isRetry = isRetry
    this.backend = attempt.backend
  }

  onAttemptsOver(over: Attempts): void {
    if (this.running === over) this.running = over.earlier
    for (let one = this.running; one !== null; one = one.earlier) if (one.earlier === over) one.earlier = over.earlier
    // The interceptors may retry, or may not have passed on all of the response.
    if (this.awaitsInterceptors && !this.isEnded) this.client.awaitInterceptors()
  }

  /** The interceptors, and no backend, must act next. */
  get awaitsInterceptors(): boolean {
    return this.running === null && this.route?.handler != null
  }

  /** The client, and not the backend, must act next. @param isSending the request's body has not been sent completely. */
  isWaitingForClient(isSending: boolean): boolean {
    return isSending ? (this.body?.isWaitingForClient ?? false) : this.events.isClientBlocked
  }

  /** Ends with an error: sends an error response, or truncates one that has begun. @param attemptKind outcome of a running attempt. */
  fail(error: ProxyError, attemptKind: OutcomeKind = 'failed'): void {
    if (this.isEnded) return
    if (this.events.hasBegun) return this.truncate(error)
    const { ownStatus } = this.front
    this.status = ownStatus ?? (this.grpc === null ? error.status : 200)
    this.end(error.side === 'backend' || this.attempts > 0 ? 'failed' : 'local', error, attemptKind)
    // The application has responded by itself.
    if (ownStatus === null) respondToFailure(this, error)
  }

  /** The proxy is closed and waits no longer. A complete response may still be sent. */
  onClosed(): void {
    if (!this.events.isComplete) this.enter(this.fail, this, new ProxyError('ERR_PROXY_CLOSED', 'the proxy was closed'))
  }

  /** Ends a response of which some may have reached the client, so that the client notices that it is incomplete. */
  truncate(error: ProxyError): void {
    if (this.end('truncated', error)) abortClient(this, error)
  }

  // 8 record
  /** Ends the exchange; every exchange ends here, once. @returns `false` if it had already ended. */
  end(kind: OutcomeKind, error: ProxyError | null, attemptKind: OutcomeKind = kind): boolean {
    if (this.isEnded) return false
    this.isEnded = true
    for (let one = this.running; one !== null; one = one.earlier) one.abort(attemptKind, error)
    this.body?.abandon()
    this.services.deadlines.remove(this.client)
    this.#abort?.abort(OVER)
    recordExchange(this, kind, error)
    return true
  }
}
