import type { Interceptor } from '../contracts/interceptor.ts'
import type { Flow } from '../contracts/pool.ts'
import { preferredCoding } from '../headers/accept.ts'
import { headerView } from '../headers/view.ts'
import { fieldValues, hasListToken, listMembers } from '../http1/fields.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { BodyStreams } from './bodies/body-streams.ts'
import { codingsOf, HAS_ZSTD } from './bodies/decoders.ts'
import { type Call, type Divert, DivertedSink, type TakenBody } from './bodies/diverted-sink.ts'
import { type Coding, type Encoder, encoder, encoderError, LEVELS } from './bodies/encoders.ts'
import { mediaTypes } from './bodies/media-types.ts'
import { forgetBytes, isPart, trailersOfChangedBody } from './bodies/old-bytes.ts'
import { checkWhole, isObject, memberError, optionError, withDefaults } from './option-checks.ts'

/** Options of {@link compress}. */
export interface CompressOptions {
  /**
   * Content codings, the preferred one first; it decides between those to which a client gives the same weight. Default zstd (Node 22.15
   * and later), br, gzip: in the order of their CPU time.
   */
  readonly encodings?: readonly Coding[] | undefined
  /** Levels: zstd 1 to 22, br 0 to 11, gzip 1 to 9. Default zstd 3, br 4, gzip 6. */
  readonly levels?: Readonly<Partial<Record<Coding, number>>> | undefined
  /** Shorter bodies are not compressed. A body of unknown length is. Default 1024. */
  readonly minBytes?: number | undefined
  /**
   * Media types to compress: `text/html`, `text/*` or `application/*+json`. No pattern with `*` matches `text/event-stream`. Default:
   * text, JSON, XML, JavaScript, SVG, WebAssembly.
   */
  readonly types?: readonly string[] | undefined
}

const NAME = 'compress'
const CODINGS = `one of ${Object.keys(LEVELS).join(', ')}`

/** The defaults of {@link CompressOptions}. */
export const COMPRESS_DEFAULTS = Object.freeze({
  encodings: Object.freeze<Coding[]>(HAS_ZSTD ? ['zstd', 'br', 'gzip'] : ['br', 'gzip']),
  levels: Object.freeze<Record<Coding, number>>({ zstd: 3, br: 4, gzip: 6 }),
  minBytes: 1024,
  types: Object.freeze([
    'text/*',
    'application/json',
    'application/*+json',
    'application/x-ndjson',
    'application/xml',
    'application/*+xml',
    'application/javascript',
    'application/wasm',
    'image/svg+xml',
  ]),
})

/**
 * A body up to this size is compressed in one call if all of it has arrived before the backend pauses. A stream, which compresses
 * in another thread, takes more time in this one alone, and two to four times the CPU time.
 */
const SMALL_BYTES = 16_384

/**
 * Compresses responses with a coding that the client accepts (RFC 9110 section 12.5.3). It costs several times a proxied request: let
 * backends compress if they can.
 *
 * Adds `Vary: Accept-Encoding` to every response that could have been compressed, weakens its `ETag`, and removes `Content-Length`,
 * `Accept-Ranges` and digests. Leaves alone: other media types, bodies that are coded already, `Cache-Control: no-transform`, parts of
 * bodies (206, Content-Range), 204, 304, and short bodies. HEAD gets the headers of GET. What a backend has sent is flushed
 * at once, so that streams stay streams.
 * @throws TypeError for an invalid option.
 */
export function compress(options: CompressOptions = {}): Interceptor {
  const { encodings, levels, minBytes, types } = withDefaults(NAME, options, COMPRESS_DEFAULTS)
  checkWhole(NAME, 'minBytes', minBytes, { least: 1, example: COMPRESS_DEFAULTS.minBytes })
  checkLevels(levels)
  checkEncodings(encodings)
  const encoders = new Map(
    encodings.map((coding) => [coding, encoder(coding, levels[coding] ?? COMPRESS_DEFAULTS.levels[coding])]),
  )
  const isType = mediaTypes(types, NAME, 'types')

  /** Whether GET responses like this one could be compressed, so that they vary with Accept-Encoding. */
  const isCompressible = (head: ResponseHead, headers: HeaderView, isHead: boolean): boolean => {
    const { status, bodyBytes } = head
    if (status === 204 || status === 205) return false
    const type = headers.get('Content-Type')
    // A 304 usually has no type, but must have the Vary of the 200 (RFC 9110 section 15.4.5).
    if (!(type === undefined && status === 304) && !isType(type)) return false
    if (codingsOf(head.headers).length > 0 || forbidsTransform(head.headers)) return false
    if (status === 304 || isPart(status, headers)) return true
    const bytes = isHead && bodyBytes >= 0 ? Number(headers.get('Content-Length') ?? -1) : bodyBytes
    return bytes < 0 || bytes >= minBytes
  }

  const divert: Divert = (call, head, flow) => {
    const { exchange } = call
    const headers = headerView(head.headers)
    const isHead = exchange.method === 'HEAD'
    if (!isCompressible(head, headers, isHead)) return null
    addVary(headers)
    if (head.status === 304) weakenAsSent(headers, exchange)
    if (head.status === 304 || isPart(head.status, headers)) return null
    const coding = preferredCoding(fieldValues(exchange.headers, 'accept-encoding').join(), encodings)
    if (coding === null || forbidsTransform(exchange.headers)) return null
    forgetBytes(headers)
    weaken(headers)
    headers.set('Content-Encoding', coding)
    const chosen = encoders.get(coding) as Encoder
    if (!isHead) return new CompressedBody(call, head, flow, chosen)
    head.bodyBytes = -1
    return null
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) =>
      next(exchange, request, body, new DivertedSink(exchange, request, sink, divert)),
  }
}

/**
 * Gathers a body while it is small. If it ends within one turn of the event loop it is compressed in one call, else through a
 * stream, so that nobody waits for bytes that have come.
 */
class CompressedBody implements TakenBody {
  readonly #call: Call
  readonly #head: ResponseHead
  readonly #flow: Flow
  readonly #encoder: Encoder
  readonly #gathered: Buffer[] = []
  #gatheredBytes = 0
  #streams: BodyStreams | null = null
  /** `#onTurnEnd` will be called. */
  #isDue = false
  #isOver = false

  constructor(call: Call, head: ResponseHead, flow: Flow, chosen: Encoder) {
    this.#call = call
    this.#head = head
    this.#flow = flow
    this.#encoder = chosen
    this.#streamLater()
  }

  onData(chunk: Buffer): boolean {
    if (this.#streams !== null) return this.#streams.onData(chunk)
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
    if (this.#gatheredBytes > SMALL_BYTES) return this.#stream()
    this.#streamLater()
    return true
  }

  onFlush(): void {}

  #streamLater(): void {
    if (this.#isDue) return
    this.#isDue = true
    setImmediate(this.#onTurnEnd)
  }

  readonly #onTurnEnd = (): void => {
    this.#isDue = false
    // The first bytes of a body whose length is known follow its head closely.
    const awaitsFirst = this.#head.bodyBytes > 0 && this.#gatheredBytes === 0
    if (this.#isOver || this.#streams !== null || awaitsFirst) return
    try {
      this.#stream()
    } catch (thrown) {
      this.#isOver = true
      this.#call.sink.onError(encoderError(thrown, this.#call.exchange))
    }
  }

  #stream(): boolean {
    const stage = this.#encoder.stage(this.#call.exchange)
    this.#head.bodyBytes = -1
    const streams = new BodyStreams(this.#call, this.#head, this.#flow, [stage])
    this.#streams = streams
    let goOn = true
    for (const chunk of this.#gathered) goOn = streams.onData(chunk)
    this.#gathered.length = 0
    return goOn
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#streams !== null) return this.#streams.onEnd(trailers)
    if (this.#isOver) return
    this.#isOver = true
    const { sink } = this.#call
    const bytes = this.#encoder.encode(Buffer.concat(this.#gathered))
    // Trailers need a body of unknown length.
    if (trailers === null) this.#head.bodyBytes = bytes.length
    sink.onHead(this.#head, this.#flow)
    sink.onData(bytes)
    sink.onEnd(trailers === null ? null : trailersOfChangedBody(trailers))
  }

  onError(error: ProxyError): void {
    if (this.#streams !== null) return this.#streams.onError(error)
    this.#isOver = true
    this.#call.sink.onError(error)
  }
}

function addVary(headers: HeaderView): void {
  const names = listMembers(headers.getAll('Vary').join())
  if (!names.has('accept-encoding') && !names.has('*')) headers.append('Vary', 'Accept-Encoding')
}

/** Of the same content in two codings only the meaning is the same, not the bytes (RFC 9110 section 8.8.3.3). */
function weaken(headers: HeaderView): void {
  const tag = headers.get('ETag')
  if (tag !== undefined && !tag.startsWith('W/')) headers.set('ETag', `W/${tag}`)
}

/** Gives a 304 the ETag that the client has got with the compressed 200 (RFC 9110 section 15.4.5). */
function weakenAsSent(headers: HeaderView, exchange: ExchangeView): void {
  if (exchange.header('if-none-match')?.includes(`W/${headers.get('ETag')}`)) weaken(headers)
}

/** `no-transform` (RFC 9111 sections 5.2.1.6 and 5.2.2.6). */
function forbidsTransform(headers: Readonly<HeaderList>): boolean {
  return hasListToken(fieldValues(headers, 'cache-control').join(), 'no-transform')
}

function checkLevels(levels: unknown): void {
  if (!isObject(levels)) throw optionError(NAME, 'levels', levels, 'levels, such as { br: 4, gzip: 6 }')
  for (const [coding, level] of Object.entries(levels)) {
    if (!isCoding(coding)) throw optionError(NAME, 'a key of levels', coding, CODINGS)
    checkWhole(NAME, `levels.${coding}`, level, { ...LEVELS[coding], example: COMPRESS_DEFAULTS.levels[coding] })
  }
}

function checkEncodings(encodings: unknown): void {
  if (!Array.isArray(encodings) || encodings.length === 0)
    throw optionError(NAME, 'encodings', encodings, "a list, such as ['br', 'gzip']")
  for (const coding of encodings as unknown[]) {
    if (!isCoding(coding)) throw memberError(NAME, 'encodings', coding, CODINGS)
    if (coding === 'zstd' && !HAS_ZSTD) {
      const allowed = `another one: Node ${process.version} has no zstd (22.15 has)`
      throw memberError(NAME, 'encodings', coding, allowed)
    }
  }
}

function isCoding(value: unknown): value is Coding {
  return typeof value === 'string' && Object.hasOwn(LEVELS, value)
}
