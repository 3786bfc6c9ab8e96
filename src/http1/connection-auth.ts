import type { HeaderList } from '../model/exchange-view.ts'
import { isName } from './fields.ts'

/** NTLM and Negotiate (RFC 4559 section 6) authenticate the connection: later requests on it count as the same user's. */
const BOUND_CREDENTIALS = /^(?:ntlm|negotiate)(?![^ \t])/i
const BOUND_CHALLENGE = /(?:^|,)[ \t]*(?:ntlm|negotiate)(?![^ \t,])/i

/** Whether a request has credentials that bind its connection to one user. */
export function hasBoundCredentials(headers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 13 && isName(name, 'authorization') && BOUND_CREDENTIALS.test(headers[i + 1] as string))
      return true
  }
  return false
}

/** Whether a value of `WWW-Authenticate` asks for such credentials, or continues their handshake. */
export function isBoundChallenge(value: string): boolean {
  return BOUND_CHALLENGE.test(value)
}

/** Whether any `WWW-Authenticate` of a response {@link isBoundChallenge}. */
export function hasBoundChallenge(headers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 16 && isName(name, 'www-authenticate') && isBoundChallenge(headers[i + 1] as string))
      return true
  }
  return false
}
