import { isName } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import {
  CONNECTION,
  CONTENT_LENGTH,
  classify,
  FROM_RESPONSES,
  KEPT_IN_RESPONSES,
  NAME,
  TRAILER,
  UPGRADE,
} from './facts.ts'
import { isPlainConnection, removeNominated } from './nominated.ts'

/** How a response is sent to the client. */
export interface ResponseShape {
  /** Length of the body that will be sent; -1 for unknown. */
  readonly bodyBytes: number
  /** For HEAD or 304: Content-Length describes a body that is not sent, and stays as it is. */
  readonly isBodiless: boolean
  /** Trailers can be sent, so `Trailer` stays. */
  readonly takesTrailers: boolean
  /** The proxy's name in `Via`; empty for none. */
  readonly via: string
  /** For 426: `Upgrade` must stay (RFC 9110 section 15.5.22), with the matching `Connection`. */
  readonly isUpgradeRequired?: boolean
}

const INTERIM: ResponseShape = { bodyBytes: -1, isBodiless: false, takesTrailers: false, via: '' }

/**
 * The headers of a response, as the client gets them. Hop-by-hop headers and those that `Connection` nominates are removed
 * (RFC 9110 section 7.6.1). Content-Length is rewritten from the parsed length, in its place.
 */
export function responseHeaders(raw: Readonly<HeaderList>, shape: ResponseShape): HeaderList {
  const list: HeaderList = []
  let nominated = ''
  let upgrade = ''
  let hasLength = false
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    const facts = classify(name, FROM_RESPONSES)
    switch (facts & NAME) {
      case CONTENT_LENGTH:
        if (hasLength || (shape.bodyBytes < 0 && !shape.isBodiless)) break
        hasLength = true
        list.push(name, shape.isBodiless ? value : String(shape.bodyBytes))
        break
      case CONNECTION:
        if (!isPlainConnection(value)) nominated += `,${value}`
        break
      case UPGRADE:
        if (shape.isUpgradeRequired === true) upgrade += upgrade === '' ? value : `, ${value}`
        break
      case TRAILER:
        if (shape.takesTrailers) list.push(name, value)
        break
      default:
        if (facts === 0) list.push(name, value)
    }
  }
  if (nominated !== '') removeNominated(list, nominated, KEPT_IN_RESPONSES)
  // Upgrade belongs to the client's connection, and clients can also upgrade through the proxy.
  if (upgrade !== '') list.push('Upgrade', upgrade, 'Connection', 'upgrade')
  if (shape.via !== '') list.push('Via', `1.1 ${shape.via}`)
  return list
}

/** The headers of an interim response, as the client gets them. */
export function interimHeaders(raw: Readonly<HeaderList>): HeaderList {
  return responseHeaders(raw, INTERIM)
}

/**
 * Sets Content-Length to 0, because an empty body is sent instead of none: the application has changed GET to HEAD, or a
 * transform has changed 304 to 200. With the old length the client would read its next response as the body.
 */
export function announceNothing(headers: HeaderList): void {
  for (let i = 0; i < headers.length; i += 2) if (isName(headers[i] as string, 'content-length')) headers[i + 1] = '0'
}
