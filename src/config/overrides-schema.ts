import * as v from 'valibot'
import { isToken } from '../http1/fields.ts'
import { isPath } from '../model/path.ts'
import { headerNameFault, headerValueFault } from '../transforms/headers.ts'
import { BACKEND_KEYS, backend, name } from './backend-schema.ts'
import { type OptionFault, OptionsError } from './options-error.ts'
import { headerChanges, interceptors, transforms } from './route-schema.ts'
import { closed, faultsOf, isObject, isPlainObject, optional, text, word, wording } from './rules.ts'
import { timeouts } from './timeouts-schema.ts'

const CALL = {
  target: optional('Backend of this call.', backend),
  group: optional('Group of this call.', name),
  path: optional(
    'Path and query to send.',
    text('a path that starts with /', '/users?id=1', (value) => (isSentPath(value) ? null : 'is not a path')),
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
const web = closed(
  {
    ...CALL,
    method: optional(
      'Method to send.',
      text('an HTTP method other than CONNECT and TRACE', 'POST', (value) =>
        isSentMethod(value) ? null : 'is not a method that can be sent',
      ),
    ),
    body: optional(
      'Body to send.',
      v.custom<unknown>(isBody, wording('a string, a Buffer, or a readable stream of bytes', 'name=value')),
    ),
  },
  { example: { target: 'http://127.0.0.1:3000' } },
)
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
        // Its values are checked when it is used for the first time.
        if (typeof value !== 'string' && !(value instanceof URL) && !hasOnly(value, BACKEND_KEYS)) return false
        destinations++
        break
      case 'group':
        if (typeof value !== 'string' || value === '') return false
        destinations++
        break
      case 'path':
        if (typeof value !== 'string' || !isSentPath(value)) return false
        break
      case 'method':
        if (kind === 'ws' || typeof value !== 'string' || !isSentMethod(value)) return false
        break
      case 'body':
        if (kind === 'ws' || !isBody(value)) return false
        break
      case 'headers':
      case 'responseHeaders':
        if (!areHeaderChanges(value)) return false
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

function hasOnly(value: unknown, keys: ReadonlySet<string>): value is Record<string, unknown> {
  return isPlainObject(value) && Object.keys(value).every((key) => keys.has(key))
}

function areHeaderChanges(value: unknown): boolean {
  if (!hasOnly(value, CHANGES)) return false
  const { set = {}, remove = [] } = value
  if (!isPlainObject(set) || !Array.isArray(remove)) return false
  for (const name in set) {
    if (headerNameFault(name) !== null || headerValueFault(name, set[name] as string) !== null) return false
  }
  return remove.every((name) => headerNameFault(name) === null)
}

const CHANGES = new Set(['set', 'remove'])

function isSentPath(value: string): boolean {
  return value !== '*' && isPath(value)
}

function isSentMethod(value: string): boolean {
  return isToken(value) && value !== 'CONNECT' && value !== 'TRACE'
}

function isBody(value: unknown): boolean {
  return (
    typeof value === 'string' || value instanceof Uint8Array || (isObject(value) && typeof value.pipe === 'function')
  )
}
