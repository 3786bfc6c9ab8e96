import * as v from 'valibot'
import { backend, name } from './backend-schema.ts'
import { type OptionFault, OptionsError } from './options-error.ts'
import { headerChanges, interceptors, transforms } from './route-schema.ts'
import { closed, faultsOf, isObject, isPlainObject, optional, text, word, wording } from './rules.ts'
import { timeouts } from './timeouts-schema.ts'

const CALL = {
  target: optional('Backend of this call.', backend),
  group: optional('Group of this call.', name),
  path: optional(
    'Path and query to send.',
    text('a path that starts with /', '/users?id=1', (value) => (PATH.test(value) ? null : 'is not a path')),
  ),
  headers: optional("Changes to the request's headers.", headerChanges),
  responseHeaders: optional("Changes to the response's headers.", headerChanges),
  hostHeader: optional('`Host` that the backend gets.', word(['client', 'backend'])),
  timeouts: optional('Time limits of this call.', timeouts),
  transforms: optional('Transforms of this call.', transforms),
  interceptors: optional('Interceptors of this call.', interceptors),
  context: optional('Shown to hooks.', v.unknown()),
  onError: optional('Handles a failure.', v.function(wording('a function', '(error) => { res.end() }'))),
}
/** As those of clients: no fragment, and no backslash before the query, which some backends read as a slash. */
const PATH = /^\/[!"$->@-[\]-~\x80-\xff]*(?:\?[!"$-~\x80-\xff]*)?$/

const web = closed(
  {
    ...CALL,
    method: optional(
      'Method to send.',
      text('an HTTP method other than CONNECT and TRACE', 'POST', (value) =>
        METHOD.test(value) ? null : 'is not a method that can be sent',
      ),
    ),
    body: optional(
      'Body to send.',
      v.custom<unknown>(isBody, wording('a string, a Buffer, or a readable stream of bytes', 'name=value')),
    ),
  },
  { example: { target: 'http://127.0.0.1:3000' } },
)
const METHOD = /^(?!(?:CONNECT|TRACE)$)[!#$%&'*+.^_`|~\w-]+$/
const upgrade = closed(CALL, { example: { target: 'http://127.0.0.1:3000' } })

/**
 * Checks the overrides of one call.
 * @param kind of `proxy.web`, or of `proxy.ws`, which has neither method nor body.
 * @throws {@link OptionsError} with every fault at once.
 */
export function checkOverrides(overrides: object, kind: 'web' | 'ws'): void {
  if (isPlainlyRight(overrides, kind)) return
  const { issues } = v.safeParse(kind === 'web' ? web : upgrade, overrides)
  const faults: OptionFault[] = faultsOf(issues ?? [])
  const { target, group } = overrides as { target?: unknown; group?: unknown }
  if (target !== undefined && group !== undefined) {
    const allowed = '`target` for a backend, or `group` for one of the groups'
    faults.push({
      path: 'group',
      message: 'cannot be used together with `target`',
      value: group,
      allowed,
      example: 'api',
    })
  }
  if (faults.length > 0) throw new OptionsError(faults)
}

/** Whether nothing is to be said against the overrides at a first look, which costs a hundredth of the schema. */
function isPlainlyRight(overrides: object, kind: 'web' | 'ws'): boolean {
  if (!isPlainObject(overrides)) return false
  let destinations = 0
  for (const key in overrides) {
    const value: unknown = overrides[key]
    if (value === undefined) continue
    switch (key) {
      case 'target':
        // Checked when it is used for the first time.
        if (typeof value !== 'string' && !(value instanceof URL)) return false
        destinations++
        break
      case 'group':
        if (typeof value !== 'string' || value === '') return false
        destinations++
        break
      case 'path':
        if (typeof value !== 'string' || !PATH.test(value)) return false
        break
      case 'method':
        if (kind === 'ws' || typeof value !== 'string' || !METHOD.test(value)) return false
        break
      case 'body':
        if (kind === 'ws' || !isBody(value)) return false
        break
      case 'hostHeader':
        if (value !== 'client' && value !== 'backend') return false
        break
      case 'onError':
        if (typeof value !== 'function') return false
        break
      case 'context':
        break
      default:
        return false
    }
  }
  return destinations < 2
}

function isBody(value: unknown): boolean {
  return (
    typeof value === 'string' || value instanceof Uint8Array || (isObject(value) && typeof value.pipe === 'function')
  )
}
