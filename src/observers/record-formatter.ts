import type { ExchangeRecord } from '../model/record.ts'

/**
 * Makes a function that formats a record as a line of ASCII, without a line end. A line takes about 1 us, `json` 2 us.
 * - `common`: NCSA, `host - user [time] "request" status bytes`.
 * - `combined`: `common`, followed by `"referer" "user agent"`. Most log analysers read this format.
 * - `json`: the record's own names; `time` in ISO 8601, durations in ms.
 *
 * Times are UTC. Clients cannot forge a line or a field: `common` and `combined` escape a quote, a backslash and every
 * byte that is not printable ASCII as `\"`, `\\` and `\xHH` (like nginx and Apache), `json` as `\u00HH`.
 */
export function recordFormatter(format: 'common' | 'combined' | 'json'): (record: ExchangeRecord) => string {
  if (format === 'json') return jsonFormatter()
  const time = perSecond(commonTime)
  const common = (record: ExchangeRecord): string =>
    `${word(record.clientAddress)} - ${word(record.user)} [${time(record.epochMs)}] "${quoted(record.method)} ${quoted(
      record.target,
    )} HTTP/${quoted(record.httpVersion)}" ${record.status} ${record.responseBytes === 0 ? '-' : record.responseBytes}`
  if (format === 'common') return common
  return (record) => `${common(record)} "${quoted(record.referer) || '-'}" "${quoted(record.userAgent) || '-'}"`
}

function jsonFormatter(): (record: ExchangeRecord) => string {
  const second = perSecond((ms) => `{"time":"${new Date(ms).toISOString().slice(0, 19)}.`)
  const method = member('method')
  const httpVersion = member('httpVersion')
  const host = member('host')
  const backend = member('backend')
  const group = member('group')
  const outcome = member('outcome')
  const errorCode = member('errorCode')
  const grpcStatus = member('grpcStatus')
  return (r) => {
    const millis = String(Math.floor(modulo(r.epochMs, 1000))).padStart(3, '0')
    return (
      `${second(r.epochMs)}${millis}Z","id":${number(r.id)},"thread":${number(r.thread)},"clientAddress":${json(r.clientAddress)},` +
      `"user":${json(r.user)},${method(r.method)}"target":${json(r.target)},${httpVersion(r.httpVersion)}${host(r.host)}` +
      `"status":${number(r.status)},"requestBytes":${number(r.requestBytes)},"responseBytes":${number(r.responseBytes)},` +
      `"firstByteMs":${number(r.firstByteMs)},"totalMs":${number(r.totalMs)},"backendMs":${number(r.backendMs)},` +
      `${backend(r.backend)}"attempts":${number(r.attempts)},${group(r.group)}${outcome(r.outcome)}` +
      `${errorCode(r.errorCode)}${grpcStatus(r.grpcStatus)}"referer":${json(r.referer)},"userAgent":${json(r.userAgent)}}`
    )
  }
}

/** Bounds the cache of one field. */
const MAX_CACHED = 64

/** Formats `"name":"value",` and caches the text: a line that is joined from fewer pieces takes half the time. */
function member(name: string): (value: string | number | null) => string {
  const known = new Map<string | number | null, string>()
  return (value) => {
    let text = known.get(value)
    if (text === undefined) {
      if (known.size === MAX_CACHED) known.clear()
      text = `"${name}":${typeof value === 'number' ? value : json(value)},`
      known.set(value, text)
    }
    return text
  }
}

/** Caches the result of `format` for the last second: at a thousand lines a second it is called once a second. */
function perSecond(format: (ms: number) => string): (ms: number) => string {
  let lastSecond = Number.NaN
  let text = ''
  return (ms) => {
    const second = Math.floor(ms / 1000)
    if (second !== lastSecond) {
      text = format(second * 1000)
      lastSecond = second
    }
    return text
  }
}

/** `10/Oct/2000:13:55:36 +0000` */
function commonTime(ms: number): string {
  // RFC 9110's date: `Tue, 10 Oct 2000 13:55:36 GMT`.
  const [, day, month, year, clock] = new Date(ms).toUTCString().split(' ')
  return `${day}/${month}/${year}:${clock} +0000`
}

/** Characters to escape between quotes: all but printable ASCII, and `"` and `\`. */
const UNSAFE = /[^ !#-[\]-~]/

function quoted(text: string): string {
  return UNSAFE.test(text) ? escaped(text) : text
}

/** A field between spaces; `-` for none. */
function word(text: string): string {
  if (text === '') return '-'
  return quoted(text).replaceAll(' ', '\\x20')
}

function escaped(text: string): string {
  return text.replace(/[^ !#-[\]-~]/gu, (char) => {
    if (char === '"' || char === '\\') return `\\${char}`
    const code = char.codePointAt(0) ?? 0
    // Header values are latin1, one byte a character. Other characters come from the application.
    const bytes = code < 256 ? [code] : [...Buffer.from(char)]
    return bytes.map((byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
  })
}

function json(text: string | null): string {
  if (text === null) return 'null'
  if (text === '') return '""'
  if (!UNSAFE.test(text)) return `"${text}"`
  return JSON.stringify(text).replace(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The decimals after the whole milliseconds, for each number of microseconds: `''`, `.001`, `.25`. */
const FRACTIONS = Array.from({ length: 1000 }, (_, us) => String(us / 1000).slice(1))

/** Rounds to microseconds: whole numbers become text much faster than others. */
function number(value: number): string {
  if (!(value >= 0 && value < 2 ** 31)) return Number.isFinite(value) ? String(Math.round(value * 1000) / 1000) : 'null'
  const us = Math.round(value * 1000)
  const fraction = us % 1000
  return fraction === 0 ? String(us / 1000) : String((us - fraction) / 1000) + FRACTIONS[fraction]
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by
}
