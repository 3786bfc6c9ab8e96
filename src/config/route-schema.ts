import { domainToASCII } from 'node:url'
import * as v from 'valibot'
import type { Transform } from '../contracts/transform.ts'
import { prefixFault } from '../model/prefix.ts'
import { headerNameFault, headerValueFault } from '../transforms/headers.ts'
import { name } from './backend-schema.ts'
import { interceptor } from './interceptor-schema.ts'
import { closed, codeOnly, flag, hasMethodOf, list, named, optional, text, withDefault, wording } from './rules.ts'
import { timeouts } from './timeouts-schema.ts'

const HEADER_NAME = 'the name of a header that does not belong to the connection'
/** Changes to headers. */
export const headerChanges = closed(
  {
    set: optional(
      'Values by name; each replaces all headers of that name.',
      named(
        text('a header value', 'internal', (value) =>
          headerValueFault('it', value) === null ? null : 'has a character that is invalid in a header',
        ),
        'header values by name',
        { 'x-from': 'heddle' },
        (header) => suffixed('cannot be set', headerNameFault(header)),
      ),
    ),
    remove: optional(
      'Names to remove, before `set`.',
      list(
        text(HEADER_NAME, 'x-powered-by', (header) => suffixed('cannot be removed', headerNameFault(header))),
        'a list of header names',
        ['x-powered-by'],
      ),
    ),
  },
  { example: { set: { 'x-from': 'heddle' }, remove: ['x-powered-by'] } },
)

const prefix = text('a path that starts with / and has no query', '/api', prefixFault)
const method = text('an HTTP method', 'GET', (value) => (/^[A-Za-z-]+$/.test(value) ? null : 'is not a method'))
const methods = v.lazy((input) => {
  const several = list(method, 'a method, or a list of methods', ['GET', 'HEAD'])
  return input === undefined ? v.union([method, several]) : Array.isArray(input) ? several : method
})
const transform = v.custom<Transform>(
  (input) => hasMethodOf(input, ['request', 'response']),
  wording('a Transform: { name, request(), response() } with one of the two', { name: 'x' }),
)

/** A list of transforms. */
export const transforms = codeOnly(list(transform, 'a list of transforms', []))

/** A list of interceptors. */
export const interceptors = list(interceptor, 'a list of interceptors', ['error-page'])

/** A route: its conditions, group and changes. */
export const route = closed(
  {
    host: optional(
      'Host to match, or `*.example.com` for any name below it (not itself). By default any.',
      text('a host name without a port, or *. and a host name', '*.example.com', (value) =>
        isHostPattern(value) ? null : 'is not a host name',
      ),
    ),
    path: withDefault(
      'Path prefix to match, in whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.',
      prefix,
      '/',
    ),
    exact: withDefault('Match `path` as the whole path, not as a prefix.', flag(true), false),
    method: optional('Methods to match, in any case. By default any.', methods),
    group: optional('Name of the group that serves the request. By default the unnamed group.', name),
    stripPrefix: optional('Prefix to remove from the path before the request is sent, in whole segments.', prefix),
    addPrefix: optional('Prefix to put before the path, after `stripPrefix`.', prefix),
    requestHeaders: optional('Changes to the headers of the request.', headerChanges),
    responseHeaders: optional('Changes to the headers of the response.', headerChanges),
    transforms: optional('Transforms of your own, after the changes above.', transforms),
    interceptors: optional(
      'Interceptors that wrap the forwarding of a request, the first one outermost.',
      interceptors,
    ),
    grpc: withDefault(
      'For gRPC, whose calls may be quiet for long: `timeouts.idle` and `timeouts.headers` are off unless the route sets them. A call still ends by its own deadline (`grpc-timeout`).',
      flag(true),
      false,
    ),
    timeouts: optional("Time limits of this route. By default the group's.", timeouts),
  },
  { example: { path: '/api', group: 'api' } },
)

/** The output of {@link route}. */
export type CheckedRoute = v.InferOutput<typeof route>

function isHostPattern(value: string): boolean {
  const host = value.startsWith('*.') ? value.slice(2) : value
  if (/^\[[\da-f:.]+\]$/i.test(value)) return true
  return !/[*:/?#@\s]/.test(host) && domainToASCII(host) !== ''
}

function suffixed(what: string, why: string | null): string | null {
  return why === null ? null : `${what}: ${why}`
}
