import { fieldValue, removeField, removeFields } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { HttpVersion } from '../model/message.ts'
import type { Peer } from '../model/peer.ts'
import type { HeaderEdits } from './edits.ts'
import { classify, FORWARDING, plainName, WRITTEN } from './facts.ts'
import { type RequestHeaderPolicy, type RequestHeaders, requestHeaders } from './request.ts'

/**
 * The {@link requestHeaders} of a request whose headers the application has changed. Its headers are sent as they are. If it
 * sets forwarding headers, they replace those of the proxy and nothing is added to them.
 * @param hasBody only of HTTP/2, where no field says so.
 */
export function editedRequestHeaders(
  raw: Readonly<HeaderList>,
  edits: HeaderEdits,
  method: string,
  version: HttpVersion | null,
  peer: Peer,
  policy: RequestHeaderPolicy,
  hasBody = false,
): RequestHeaders {
  const counted: HeaderList = []
  /** Headers that are treated like received ones. */
  const ordinary: HeaderList = []
  /** Forwarding headers of the application. */
  const own: HeaderList = []
  const kept = new Set<string>()
  /** Changed names as CGI backends read them: a client's look-alike must not pass for the application's header. */
  const cgiNames = new Set<string>()
  for (const [lower, { values }] of edits.changed) {
    cgiNames.add(plainName(lower))
    if (values.length > 0) kept.add(lower)
  }
  const written = new Set<string>()
  const write = (lower: string, name: string, values: readonly string[]): void => {
    if (written.has(lower)) return
    written.add(lower)
    const isForwarding = (classify(name) & FORWARDING) !== 0
    for (const value of values) {
      counted.push(name, value)
      if (isForwarding) own.push(name, value)
      else ordinary.push(name, value)
    }
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    const lower = name.toLowerCase()
    const edit = edits.changed.get(lower)
    if (edit !== undefined) {
      // The client's own Host must still be present, and only once.
      if (lower === 'host' && (edit.values.length === 0 || written.has(lower))) ordinary.push(name, value)
      write(lower, name, edit.values)
    } else if (!cgiNames.has(plainName(name))) {
      counted.push(name, value)
      ordinary.push(name, value)
    }
  }
  for (const [lower, { name, values }] of edits.changed) write(lower, name, values)
  const headers = requestHeaders(ordinary, method, version, peer, policy, kept, hasBody)
  const { list } = headers
  const host = edits.changed.get('host')
  if (host?.values.length === 0) {
    removeField(list, 'host')
    if (fieldValue(list, 'x-forwarded-host') === headers.host) removeField(list, 'x-forwarded-host')
  }
  const forwardedFor = edits.changed.get('x-forwarded-for')?.values.join(', ') ?? ''
  removeFields(list, (lower) => (classify(lower) & WRITTEN) !== 0 && kept.has(lower))
  list.push(...own)
  return {
    ...headers,
    counted,
    forwardedFor: forwardedFor === '' ? headers.forwardedFor : forwardedFor,
    forwardedProto: edits.changed.get('x-forwarded-proto')?.values.at(-1) ?? headers.forwardedProto,
    isHostSet: kept.has('host'),
    ...(host?.values.length === 0 ? { host: '', hasHost: false } : {}),
    misuse: edits.fault,
  }
}
