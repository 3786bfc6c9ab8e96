import type { Interceptor } from '../contracts/interceptor.ts'
import { trustMatcher } from '../headers/trust.ts'
import { checkKeys, optionError, stringList, within } from './option-checks.ts'
import { forbid } from './respond.ts'

/**
 * Options of {@link addresses}: lists of addresses (`192.0.2.7`), CIDR ranges (`10.0.0.0/8`, `2001:db8::/32`) and the names `loopback`,
 * `private` (RFC 1918 and RFC 4193) and `unix` (clients on a unix socket, which have no address). Give one of them at least.
 */
export interface AddressesOptions {
  /** Only these clients pass. Default: all. */
  allow?: readonly string[] | undefined
  /** These clients do not pass, even if `allow` has them. Default: none. */
  deny?: readonly string[] | undefined
}

const NAME = 'addresses'

/**
 * Refuses clients by their address with 403. The address is `exchange.clientAddress`: with `trustedProxies` it comes from
 * X-Forwarded-For, without them it is that of the connection. A mapped IPv4 address (`::ffff:10.0.0.1`) is compared as IPv4.
 * A client without an address is on a unix socket: only `unix` stands for it. A client that was gone before its address was
 * known is refused.
 * @throws TypeError for wrong options.
 */
export function addresses(options: AddressesOptions): Interceptor {
  checkKeys(NAME, options, ['allow', 'deny'])
  const { allow, deny } = options
  if (allow === undefined && deny === undefined) {
    throw new TypeError("addresses: give allow, deny or both, such as allow: ['private']")
  }
  const isAllowed = allow === undefined ? () => true : matcher('allow', allow)
  const isDenied = deny === undefined ? () => false : matcher('deny', deny)
  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const { clientAddress } = exchange
      if (clientAddress !== 'unknown' && isAllowed(clientAddress) && !isDenied(clientAddress)) {
        return next(exchange, request, body, sink)
      }
      forbid(sink)
    },
  }
}

function matcher(option: string, value: unknown): (address: string) => boolean {
  const ranges = stringList(NAME, option, value, "['10.0.0.0/8', 'loopback']")
  if (ranges.length === 0) throw optionError(NAME, option, value, 'an address at least, or leave the option out')
  return within(`${NAME}: ${option}`, () => trustMatcher(ranges))
}
