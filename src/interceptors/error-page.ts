import { STATUS_CODES } from 'node:http'
import type { Interceptor } from '../contracts/interceptor.ts'
import { preferredType } from '../headers/accept.ts'
import { fieldValues, removeFields } from '../http1/fields.ts'
import type { ProxyError, ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import { assertSync } from '../runtime/callbacks.ts'
import { describesContent } from './content-headers.ts'
import { checkKeys, isObject, optionError } from './option-checks.ts'
import { callReplaceable } from './replaceable.ts'
import { respond, type WholeResponse } from './respond.ts'
import { wrapSink } from './wrap-sink.ts'

/** A failed exchange, or a backend's response that is replaced, as {@link ErrorPageOptions.render} gets it. */
export interface ErrorPageFailure {
  /** Status for the client. */
  readonly status: number
  /** Code of the error; `null` for a response of a backend. */
  readonly code: ProxyErrorCode | null
  /** Reason phrase of the status, such as `Bad Gateway`. */
  readonly message: string
  /** The error. Its message and backend are for logs, not for clients. `null` for a response of a backend. */
  readonly error: ProxyError | null
}

/** Options of {@link errorPage}. */
export interface ErrorPageOptions {
  /** The page for clients that prefer HTML. */
  html?: string | undefined
  /**
   * The body for clients that prefer JSON. `true`: `{ "status", "code", "message", "id" }`. In an object of your own, strings may
   * have placeholders at any depth; a string that is only `{{status}}` or `{{id}}` becomes a number.
   */
  json?: boolean | Readonly<Record<string, unknown>> | undefined
  /** The text for all others. Default: a line such as `502 Bad Gateway (ERR_PROXY_CONNECT)`. */
  text?: string | undefined
  /** Statuses from 400 to 599: responses of backends with one of them are replaced as well. Default none. */
  statuses?: readonly number[] | undefined
  /**
   * Makes the response, in place of `html`, `json` and `text`. Synchronous. If it throws, the client gets 500 (`ERR_PROXY_HOOK`).
   * `Cache-Control: no-store` and the headers of the error are added, unless it gives them.
   */
  render?: ((failure: ErrorPageFailure, exchange: ExchangeView) => WholeResponse) | undefined
}

/** Values of the placeholders. */
interface Facts {
  readonly status: number
  readonly code: string | null
  readonly message: string
  readonly id: number
}

type Render = NonNullable<ErrorPageOptions['render']>

const NAME = 'error-page'
const PLACEHOLDER = /\{\{\s*(\w+)\s*\}\}/g
const FACTS: readonly string[] = ['status', 'code', 'message', 'id'] satisfies (keyof Facts)[]
/** Headers of a backend's response that do not hold for another one, besides those that describe the content. */
const OF_RESPONSE = new Set(['etag', 'last-modified', 'accept-ranges', 'cache-control', 'expires', 'age', 'trailer'])

/**
 * Responds to failed exchanges in place of the proxy's plain text, in a form that the client accepts (`Accept`, RFC 9110 section 12.5.1):
 * HTML, JSON or text. Status and headers of the error stay (`Retry-After`), and the response is not cached.
 *
 * Placeholders: `{{status}}` (502), `{{code}}` (`ERR_PROXY_CONNECT`; empty for a response of a backend), `{{message}}` (`Bad Gateway`)
 * and `{{id}}` (the number of the exchange, as in logs). They tell nothing of backends, and are escaped.
 *
 * Only errors of attempts are seen, not those of requests that have none: no route, a malformed or too large request, a time
 * limit of the whole exchange, an error of an interceptor.
 * @throws TypeError if an option is wrong.
 */
export function errorPage(options: ErrorPageOptions): Interceptor {
  checkKeys(NAME, options, ['html', 'json', 'text', 'statuses', 'render'])
  const { statuses = [] } = options
  if (!Array.isArray(statuses) || !statuses.every(isErrorStatus))
    throw optionError(NAME, 'statuses', statuses, 'a list of statuses from 400 to 599, such as [502, 503, 504]')
  const replaced = new Set(statuses)
  const render = renderOf(options)

  const responseTo = (failure: ErrorPageFailure, given: HeaderList, exchange: ExchangeView): WholeResponse => {
    const response = render(failure, exchange)
    assertSync(response)
    const headers = [...(response.headers ?? [])]
    const own = new Set(headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase()))
    removeFields(given, (name) => own.has(name))
    if (!own.has('cache-control')) headers.push('Cache-Control', 'no-store')
    return { ...response, headers: [...headers, ...given] }
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      let hasBegun = false
      const page = wrapSink(sink, {
        onHead(head, flow) {
          hasBegun = true
          sink.onHead(head, flow)
        },
        onError(error) {
          if (hasBegun) return sink.onError(error)
          const { status, code } = error
          const failure = { status, code, message: reasonOf(status), error }
          respond(sink, responseTo(failure, Object.entries(error.headers).flat(), exchange))
        },
      })
      if (replaced.size === 0) return next(exchange, request, body, page)
      callReplaceable(next, [exchange, request, body, page], ({ status, headers }) => {
        if (!replaced.has(status)) return null
        const kept = [...headers]
        removeFields(kept, (name) => describesContent(name) || OF_RESPONSE.has(name))
        const failure = { status, code: null, message: reasonOf(status), error: null }
        return { start: () => respond(sink, responseTo(failure, kept, exchange)) }
      })
    },
  }
}

/** @throws TypeError if an option is wrong. */
function renderOf({ html, json, text, render }: ErrorPageOptions): Render {
  if (render !== undefined) {
    if (typeof render !== 'function') throw optionError(NAME, 'render', render, 'a function')
    for (const [option, value] of Object.entries({ html, json, text })) {
      if (value !== undefined) throw optionError(NAME, option, value, 'either it or render')
    }
    return render
  }
  const asText = text === undefined ? plainText : template('text', text, (value) => value)
  const asHtml = html === undefined ? null : template('html', html, escapeHtml)
  const asJson = json === undefined || json === false ? null : jsonTemplate(json)
  const bodies = new Map<string, (facts: Facts) => string>([
    ['text/plain', asText],
    ...(asJson === null ? [] : [['application/json', asJson] as const]),
    ...(asHtml === null ? [] : [['text/html', asHtml] as const]),
  ])
  const offers = [...bodies.keys()] as [string, ...string[]]
  return ({ status, code, message }, exchange) => {
    const type = preferredType(fieldValues(exchange.headers, 'accept').join(), offers)
    const charset = type === 'application/json' ? '' : '; charset=utf-8'
    const body = (bodies.get(type) ?? asText)({ status, code, message, id: exchange.id })
    return { status, headers: ['Content-Type', type + charset], body }
  }
}

function plainText({ status, code, message }: Facts): string {
  return code === null ? `${status} ${message}\n` : `${status} ${message} (${code})\n`
}

/** @throws TypeError if the template is not a text, or has an unknown placeholder. */
function template(option: string, text: unknown, escape: (value: string) => string): (facts: Facts) => string {
  if (typeof text !== 'string') throw optionError(NAME, option, text, 'a text')
  for (const [placeholder, name = ''] of text.matchAll(PLACEHOLDER)) {
    if (!FACTS.includes(name))
      throw optionError(NAME, `a placeholder in ${option}`, placeholder, FACTS.map((one) => `{{${one}}}`).join(', '))
  }
  return (facts) => text.replace(PLACEHOLDER, (_, name: keyof Facts) => escape(String(facts[name] ?? '')))
}

/** @throws TypeError if it cannot be written as JSON. */
function jsonTemplate(json: unknown): (facts: Facts) => string {
  if (json === true) return ({ status, code, message, id }) => write({ status, code: code ?? undefined, message, id })
  if (!isObject(json)) throw optionError(NAME, 'json', json, 'true or an object')
  const compiled = compile(plainCopy(json))
  return (facts) => write(compiled(facts))
}

function plainCopy(json: object): unknown {
  try {
    return JSON.parse(JSON.stringify(json))
  } catch (cause) {
    throw new TypeError(`${NAME}: json cannot be written as JSON; give plain data`, { cause })
  }
}

function write(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function compile(value: unknown): (facts: Facts) => unknown {
  if (typeof value === 'string') {
    const [, only] = /^\{\{\s*(status|id)\s*\}\}$/.exec(value) ?? []
    return only === undefined ? template('json', value, (text) => text) : (facts) => facts[only as 'status' | 'id']
  }
  if (Array.isArray(value)) {
    const items = value.map(compile)
    return (facts) => items.map((item) => item(facts))
  }
  if (!isObject(value)) return () => value
  const entries = Object.entries(value).map(([key, item]) => [key, compile(item)] as const)
  return (facts) => Object.fromEntries(entries.map(([key, item]) => [key, item(facts)]))
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '')
}

function isErrorStatus(status: unknown): boolean {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599
}

function reasonOf(status: number): string {
  return STATUS_CODES[status] ?? 'Error'
}
