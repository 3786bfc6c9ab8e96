import type { IncomingMessage } from 'node:http'
import type { BodySource, HeaderList, ResponseSink, WebOverrides } from '../../index.ts'
import type { Owner } from './call.ts'
import { CopiedRequest } from './copied-request.ts'
import type { HookedCall } from './hooks.ts'
import { nodeError } from './node-errors.ts'
import { Nowhere } from './nowhere.ts'
import { backendOf, sentPath } from './path.ts'
import { optionEdits } from './request-headers.ts'
import type { NormalizedServerOptions } from './types.ts'

/** The copy of a request that goes to `forward`. Nobody gets its response. */
export class ForwardedCopy implements HookedCall {
  readonly edits: HookedCall['edits']
  readonly #request: CopiedRequest
  readonly #response = new Nowhere()
  readonly #send: () => void

  /** @param onFailed called if the copy could not be sent. */
  constructor(owner: Owner, req: IncomingMessage, options: NormalizedServerOptions, onFailed: (error: Error) => void) {
    const destination = owner.targets.read(options.forward as NonNullable<typeof options.forward>, options)
    this.#request = new CopiedRequest(req, destination.host)
    const request = this.#request.asRequest
    const { base, path } = sentPath(destination, options, req.url ?? '/')
    this.edits = optionEdits(request, options, destination)
    const overrides: WebOverrides = {
      target: backendOf(base, destination),
      hostHeader: options.changeOrigin === true && this.edits?.has('host') !== true ? 'backend' : 'client',
      context: this,
      onError: (error) => {
        // Nobody reads the rest of the body any more: it must not hold up the client.
        this.#request.resume()
        onFailed(nodeError(error))
      },
    }
    if (path !== undefined) overrides.path = path
    if (options.method !== undefined) overrides.method = options.method
    this.#send = () => owner.engines.get('heads', options, overrides).web(request, this.#response.asResponse, overrides)
  }

  /** Sends the copy. @param body of `req`, or another; nobody else reads it. */
  sendAll({ socket }: IncomingMessage, body: NodeJS.ReadableStream): void {
    const onOver = (): void => this.onClientOver()
    // The request has its response by then, and node does not tell it that its connection is gone.
    socket.once('close', onOver)
    this.#request.once('finish', () => socket.off('close', onOver))
    body.on('error', onOver).on('close', onOver).pipe(this.#request)
    this.#send()
  }

  /** Sends the copy. @returns the body, whose reader writes the copy as it reads. */
  sendWith(body: BodySource | null): BodySource | null {
    this.#send()
    if (body !== null) return new TeedBody(body, this.#request)
    this.#request.end()
    return null
  }

  /** The client's request is over: what has not come by now never comes. */
  onClientOver(): void {
    if (!this.#request.writableEnded) this.#response.destroy()
  }

  onHead(): void {}

  tapBody(body: BodySource | null): BodySource | null {
    return body
  }

  tap(sink: ResponseSink): ResponseSink {
    return sink
  }

  onEngineError(): void {}
}

type BodySink = Parameters<BodySource['start']>[0]

/** A body that is written to `copy` while it is read. The slower of the two readers sets the pace. */
class TeedBody implements BodySource, BodySink {
  readonly bytes: number
  readonly expectsContinue: boolean
  readonly #source: BodySource
  readonly #copy: CopiedRequest
  #sink: BodySink | null = null
  /** Bytes that the present reader has had, and that the copy has. */
  #read = 0
  #copied = 0
  #readerWaits = false

  constructor(source: BodySource, copy: CopiedRequest) {
    this.#source = source
    this.#copy = copy
    this.bytes = source.bytes
    this.expectsContinue = source.expectsContinue
    // Ended by its own end, or gone: it holds up nobody.
    for (const event of ['drain', 'close']) copy.on(event, () => this.#goOn())
  }

  get isReplayable(): boolean {
    return this.#source.isReplayable
  }

  start(sink: BodySink): void {
    this.#sink = sink
    this.#read = 0
    this.#readerWaits = false
    this.#source.start(this)
  }

  onBody(chunk: Buffer): boolean {
    // A second reader gets from the start what the copy has already.
    const known = Math.min(chunk.length, Math.max(0, this.#copied - this.#read))
    this.#read += chunk.length
    if (known < chunk.length && !this.#copy.destroyed) {
      this.#copied = this.#read
      this.#copy.write(Buffer.from(chunk.subarray(known)))
    }
    this.#readerWaits = this.#sink?.onBody(chunk) === false
    return !this.#readerWaits && !this.#copy.writableNeedDrain
  }

  onBodyEnd(trailers: HeaderList | null): void {
    if (!this.#copy.writableEnded) this.#copy.end()
    this.#sink?.onBodyEnd(trailers)
  }

  resume(): void {
    this.#readerWaits = false
    this.#goOn()
  }

  #goOn(): void {
    if (!this.#readerWaits && !this.#copy.writableNeedDrain) this.#source.resume()
  }

  stop(): void {
    this.#source.stop()
  }

  whenArrived(call: () => void): void {
    if (this.#source.whenArrived === undefined) call()
    else this.#source.whenArrived(call)
  }
}
