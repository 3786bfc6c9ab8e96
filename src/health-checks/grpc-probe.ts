import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { HealthCheck } from '../contracts/health-check.ts'
import { releaseOutput } from '../http2/frame-writer.ts'
import type { FieldBlock } from '../http2/hpack-decoder.ts'
import { codeName, FIRST_WINDOW } from '../http2/protocol.ts'
import { Session, type SessionHandler } from '../http2/session.ts'
import type { Http2Stream, StreamSink } from '../http2/stream.ts'
import type { Backend } from '../model/backend.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { connect } from '../pools/dial.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { complete } from '../runtime/complete.ts'
import { PROBE_DEFAULTS, type ProbeOptions } from './probe-options.ts'
import { probing, type RunningProbe } from './probe-watch.ts'

/** `HealthCheckResponse.ServingStatus`, by number. */
const SERVING_STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']
const SERVING = 1
/** A response of more bytes is none of the health service. */
const MAX_RESPONSE_BYTES = 1024
const BOUNDS = { maxHeadBytes: 16_384, maxHeaders: 100 }

/**
 * Probes each backend at intervals by gRPC's health service, over HTTP/2 (with prior knowledge if the backend is `http://`). Everything
 * else is as for `httpProbe()`.
 *
 * Source: gRPC's doc/health-checking.md. Both messages have one field, so no library for protocol buffers is needed.
 */
export function grpcProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = complete(PROBE_DEFAULTS, options)
  const { service, host } = settings
  return probing('grpc-probe', settings, clock, (backend, attemptMs, end) => {
    const socket = connect(backend.endpoint, { protocols: ['h2'] }, attemptMs)
    return new HealthCall(socket, backend, service, host, () => clock.now(), end)
  })
}

/** One call of the health service. */
class HealthCall implements SessionHandler, StreamSink, RunningProbe {
  readonly #socket: Socket
  readonly #session: Session
  readonly #end: (result: string | Error | null) => void
  readonly #service: string
  readonly #received: Buffer[] = []
  #receivedBytes = 0
  #stream: Http2Stream | null = null
  #isOutputDue = false

  constructor(
    socket: Socket,
    backend: Backend,
    service: string,
    host: string,
    now: () => number,
    end: (result: string | Error | null) => void,
  ) {
    this.#socket = socket
    this.#service = service
    this.#end = end
    this.#session = new Session(this, {
      isServer: false,
      bounds: BOUNDS,
      maxStreams: 0,
      firstWindow: FIRST_WINDOW,
      largestWindow: FIRST_WINDOW,
      now,
    })
    const { isSecure } = backend.endpoint
    socket
      .on('error', end)
      .on('close', () => end('the connection was closed before the end of the response'))
      .on('data', (bytes) => this.#session.receive(bytes))
      .on(isSecure ? 'secureConnect' : 'connect', () => {
        if (isSecure && (socket as TLSSocket).alpnProtocol !== 'h2')
          end('the backend does not offer HTTP/2 (ALPN h2), which gRPC needs')
        else this.#call(`${backend.basePath}/grpc.health.v1.Health/Check`, host || backend.host, isSecure)
      })
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #call(path: string, authority: string, isSecure: boolean): void {
    this.#session.start()
    const stream = this.#session.open()
    this.#stream = stream
    stream.sink = this
    const scheme = isSecure ? 'https' : 'http'
    stream.sendHead(
      [':method', 'POST', ':scheme', scheme, ':path', path, ':authority', authority],
      ['content-type', 'application/grpc', 'te', 'trailers', 'user-agent', 'heddle-probe'],
    )
    stream.write(requestFor(this.#service))
    stream.end()
  }

  onHead(block: FieldBlock, isEnd: boolean): void {
    const status = Number(fieldOf(block.pseudo, ':status'))
    if (status < 200) return
    if (status !== 200) return this.#end(`status ${status}`)
    if (isEnd) return this.#judge(block.list)
    // What follows the body is a trailer section.
    if (this.#stream !== null) this.#stream.hasHead = true
  }

  onData(bytes: Buffer): void {
    this.#receivedBytes += bytes.length
    if (this.#receivedBytes > MAX_RESPONSE_BYTES)
      return this.#end('the response is too large for grpc.health.v1.Health')
    this.#received.push(Buffer.from(bytes))
  }

  onEnd(trailers: HeaderList | null): void {
    this.#judge(trailers ?? [])
  }

  #judge(fields: Readonly<HeaderList>): void {
    const status = fieldOf(fields, 'grpc-status')
    const service = JSON.stringify(this.#service)
    if (status === '12') return this.#end('gRPC status 12: the backend does not implement grpc.health.v1.Health')
    if (status === '5') return this.#end(`gRPC status 5: the backend's health service does not know ${service}`)
    if (status !== '0')
      return this.#end(status === undefined ? 'the response has no grpc-status' : `gRPC status ${status}`)
    const serving = servingStatus(Buffer.concat(this.#received))
    this.#end(serving === SERVING ? null : `${service} is ${SERVING_STATUSES[serving] ?? serving}`)
  }

  onReset(code: number): void {
    // Otherwise onFault() follows, which knows more.
    if (!this.#session.isClosed) this.#end(`the backend has reset the stream: ${codeName(code)}`)
  }

  onFault(_code: number, message: string): void {
    this.#end(`the response is not valid HTTP/2: ${message}`)
  }

  onOutput(): void {
    if (this.#isOutputDue) return
    this.#isOutputDue = true
    queueMicrotask(() => this.#write())
  }

  #write(): void {
    this.#isOutputDue = false
    for (const output of this.#session.takeOutput()) {
      const bytes = Buffer.from(output.buffer.subarray(0, output.bytes))
      releaseOutput(output)
      this.#session.onWritten(bytes.length)
      if (!this.#socket.destroyed) this.#socket.write(bytes)
    }
  }

  onRequest(): void {}
  onSettings(): void {}
  onPong(): void {}
  onGoAway(): void {}
  onSent(): void {}
  onWritable(): void {}
}

/** `HealthCheckRequest { string service = 1 }` in a frame of gRPC: a flag, four bytes of length, the message. */
function requestFor(service: string): Buffer {
  const name = Buffer.from(service)
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name])
  return Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message])
}

/** Field 1 of `HealthCheckResponse { ServingStatus status = 1 }`; 0, its default, if it is missing. */
function servingStatus(frame: Buffer): number {
  return frame[5] === 0x08 ? (frame[6] ?? 0) : 0
}

function fieldOf(fields: Readonly<HeaderList>, name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}
