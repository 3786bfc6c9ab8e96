import { isFieldValue, isHost, isToken } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { classify, FIRST_ONLY, HOST, NAME, RESERVED } from './facts.ts'

/** The changes of an application to `req.headers`. */
export interface HeaderEdits {
  /** By lower-case name: the name to send, and its lines; no lines if the header was removed. */
  readonly changed: ReadonlyMap<string, { readonly name: string; readonly values: readonly string[] }>
  /** Why a change cannot be sent, or `null`. */
  readonly fault: string | null
}

/** The part of node's `IncomingMessage` that is compared. */
export interface EditedRequest {
  readonly headers: Readonly<Record<string, unknown>>
  readonly rawHeaders: Readonly<HeaderList>
  readonly joinDuplicateHeaders?: boolean | null | undefined
}

/**
 * Compares `req.headers` with the `rawHeaders` that node built it from. Takes about 0.3 us for ten unchanged headers.
 * @returns `null` if nothing was changed.
 */
export function headerEdits(req: EditedRequest): HeaderEdits | null {
  return isUntouched(req.headers, req.rawHeaders) ? null : findEdits(req)
}

/**
 * A fast check: without repeated headers, node's object has the lines of the message in order. `false`: not certain. The lines are
 * checked too, since an application may have changed both.
 */
function isUntouched(headers: Readonly<Record<string, unknown>>, raw: Readonly<HeaderList>): boolean {
  let i = 0
  for (const name in headers) {
    const value = raw[i + 1]
    if (headers[name] !== value || !isLine(raw[i], value) || !isLowerOf(name, raw[i] as string)) return false
    i += 2
  }
  return i === raw.length
}

/** Whether node can have read the line. With `insecureHTTPParser` a value may have other control characters. */
export function isLine(name: unknown, value: unknown): boolean {
  return typeof name === 'string' && typeof value === 'string' && isToken(name) && !LINE_BREAKING.test(value)
}

/** Characters that end a line, or whose low byte could. */
const LINE_BREAKING = /[\0\r\n\u0100-\uffff]/

function isLowerOf(lower: string, name: string): boolean {
  return lower.length === name.length && (lower === name || lower === name.toLowerCase())
}

function findEdits({ headers, rawHeaders, joinDuplicateHeaders }: EditedRequest): HeaderEdits | null {
  if (!isPlainObject(headers)) return { changed: new Map(), fault: 'it is not a plain object of names and values' }
  const received = receivedValues(rawHeaders, joinDuplicateHeaders === true)
  const changed = new Map<string, { name: string; values: readonly string[] }>()
  let fault: string | null = null
  const change = (lower: string, name: string, value: unknown): void => {
    const facts = classify(lower)
    // Connection and framing headers describe the received message, whatever the application writes.
    if ((facts & RESERVED) !== 0) return
    const values = linesOf(value)
    if (values === null || !values.every(isFieldValue)) fault ??= `the value of ${name} is not a valid header value`
    else if ((facts & NAME) === HOST && values.length > 0 && !(values.length === 1 && isHost(values[0] as string)))
      fault ??= `the value of ${name} is not a host`
    else changed.set(lower, { name, values })
  }
  for (const [lower, { name, value }] of received) {
    const now = ownValue(headers, lower)
    // Node's object inherits from Object.prototype, so it cannot hold this name.
    if (now === undefined && lower === '__proto__') continue
    if (!isSame(now, value)) change(lower, name, now)
  }
  for (const name of Object.keys(headers)) {
    const lower = name.toLowerCase()
    const before = received.get(lower)
    const value = headers[name]
    // Node's names are in lower case. Other names, and new ones, come from the application.
    if (before !== undefined && (name === lower || (!changed.has(lower) && isSame(value, before.value)))) continue
    if (!isToken(name)) fault ??= `${JSON.stringify(name)} is not a header name`
    else if (value !== undefined && value !== null) change(lower, before?.name ?? name, value)
  }
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (!isLine(name, rawHeaders[i + 1]) && !changed.has(name.toLowerCase()))
      fault ??= `${JSON.stringify(name)} in req.rawHeaders is not a valid header`
  }
  return changed.size === 0 && fault === null ? null : { changed, fault }
}

/** Whether it can be node's object, or one in its place: not a list, and not an object of the Fetch API. */
export function isPlainObject(headers: unknown): headers is Record<string, unknown> {
  return typeof headers === 'object' && headers !== null && !(Symbol.iterator in headers)
}

/** The values that node puts into `req.headers`: it joins repeated headers. */
function receivedValues(
  raw: Readonly<HeaderList>,
  joins: boolean,
): Map<string, { readonly name: string; value: string | string[] }> {
  const received = new Map<string, { readonly name: string; value: string | string[] }>()
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const line = raw[i + 1] as string
    const lower = name.toLowerCase()
    const before = received.get(lower)
    if (before === undefined) received.set(lower, { name, value: lower === 'set-cookie' ? [line] : line })
    else if (Array.isArray(before.value)) before.value.push(line)
    else if (lower === 'cookie') before.value += `; ${line}`
    else if (joins || (classify(lower) & FIRST_ONLY) === 0) before.value += `, ${line}`
  }
  return received
}

/** The value of a header, but not a property that every object inherits. */
function ownValue(headers: Readonly<Record<string, unknown>>, name: string): unknown {
  return name in Object.prototype && !Object.hasOwn(headers, name) ? undefined : headers[name]
}

function isSame(value: unknown, received: string | readonly string[]): boolean {
  if (value === received) return true
  if (!Array.isArray(value) || !Array.isArray(received)) return false
  return value.length === received.length && value.every((line, i) => line === received[i])
}

/** The lines of a header, as node's `setHeader()` would write them. `null` if the value is invalid. */
function linesOf(value: unknown): string[] | null {
  if (value === undefined || value === null) return []
  const lines: string[] = []
  for (const line of Array.isArray(value) ? value : [value]) {
    if (typeof line !== 'string' && typeof line !== 'number' && typeof line !== 'boolean' && typeof line !== 'bigint')
      return null
    lines.push(String(line))
  }
  return lines
}
