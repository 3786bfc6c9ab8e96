import type { HeaderList } from '../model/exchange-view.ts'
import { isName } from './fields.ts'

/** NTLM, and Negotiate (RFC 4559 section 6), authenticate the connection: on it, later requests count as the same user's. */
const BOUND_CREDENTIALS = /^(?:ntlm|negotiate)(?![^ \t])/i
const BOUND_CHALLENGE = /(?:^|,)[ \t]*(?:ntlm|negotiate)(?![^ \t,])/i

/** A request has credentials that make its connection that of one user. */
export function hasBoundCredentials(headers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 13 && isName(name, 'authorization') && BOUND_CREDENTIALS.test(headers[i + 1] as string))
      return true
  }
  return false
}

/** A value of `WWW-Authenticate` asks for such credentials, or goes on with them. */
export function isBoundChallenge(value: string): boolean {
  return BOUND_CHALLENGE.test(value)
}

/** A response does so in any of its fields. */
export function hasBoundChallenge(headers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 16 && isName(name, 'www-authenticate') && isBoundChallenge(headers[i + 1] as string))
      return true
  }
  return false
}
