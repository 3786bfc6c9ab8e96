import { Backend, type BackendInit } from '../model/backend.ts'
import { EXAMPLE_URL } from './backend-schema.ts'
import { type OptionFault, show } from './options-error.ts'
import { isPlainObject, nearest, pathOf } from './rules.ts'

/** Key of the unnamed group in `ResolvedOptions.groups`. */
export const UNNAMED = 'default'

type Options = Readonly<Record<string, unknown>>

/**
 * What is wrong between options that may be right one by one. Reads the input as it was given, and only as far as it
 * is well-formed: the rest is the schema's to report, in the same error.
 */
export function inconsistencies(input: unknown): OptionFault[] {
  if (!isPlainObject(input)) return []
  const groups = isPlainObject(input.groups) ? input.groups : {}
  const hasUnnamed = input.backends !== undefined || input.target !== undefined
  const names = [...(hasUnnamed ? [UNNAMED] : []), ...Object.keys(groups)]
  const areGroupsReadable = input.groups === undefined || isPlainObject(input.groups)

  const faults = groupFaults(input, [])
  for (const [name, group] of Object.entries(groups)) {
    if (isPlainObject(group))
      faults.push(...groupFaults(group, ['groups', name]), ...emptyFaults(group, ['groups', name]))
  }
  if (hasUnnamed && Object.hasOwn(groups, UNNAMED)) {
    faults.push({
      path: pathOf(['groups', UNNAMED]),
      message: 'is the unnamed group, whose backends are given beside `groups` as well',
      value: groups[UNNAMED],
      allowed: 'either of the two',
      example: { groups: { [UNNAMED]: { backends: [EXAMPLE_URL] } } },
    })
  }
  faults.push(...encodedFaults(input))
  if (!areGroupsReadable) return faults
  if (names.length === 0) faults.push(missing('backends', 'is missing: there is nothing to proxy to'))
  else faults.push(...routeFaults(input, names), ...orphanFaults(input, hasUnnamed))
  return faults
}

function groupFaults({ backends, target }: Options, at: readonly string[]): OptionFault[] {
  const faults: OptionFault[] = []
  if (backends !== undefined && target !== undefined) {
    faults.push({
      path: pathOf([...at, 'target']),
      message: 'is given together with `backends`',
      value: target,
      allowed: '`target` for a single backend, or `backends` for several',
      example: [EXAMPLE_URL],
    })
  }
  if (!Array.isArray(backends)) return faults
  const seen = new Map<string, number>()
  for (const [index, backend] of backends.entries()) {
    const id = idOf(backend)
    const first = id === null ? undefined : seen.get(id)
    if (id !== null && first === undefined) seen.set(id, index)
    if (first === undefined) continue
    faults.push({
      path: pathOf([...at, 'backends', index]),
      message: `has the id ${show(id)}, as ${pathOf([...at, 'backends', first])} has`,
      value: backend,
      allowed: 'an id that no other backend of the group has; without one it is the origin of the URL',
      example: { url: EXAMPLE_URL, id: `backend-${index + 1}` },
    })
  }
  return faults
}

function emptyFaults({ backends, target }: Options, at: readonly string[]): OptionFault[] {
  return backends === undefined && target === undefined ? [missing(pathOf([...at, 'backends']), 'is missing')] : []
}

function routeFaults({ routes }: Options, names: readonly string[]): OptionFault[] {
  if (routes !== undefined && !Array.isArray(routes)) return []
  const example = names[0] ?? 'api'
  const named = `one of the groups: ${names.join(', ')}`
  if (routes === undefined || routes.length === 0) {
    if (names.includes(UNNAMED)) return []
    const message =
      routes === undefined ? 'is missing: nothing leads to the groups' : 'is empty: nothing leads to the groups'
    const allowed = 'a list of routes; only an unnamed group can do without'
    return [{ path: 'routes', message, value: routes, allowed, example: [{ path: '/', group: example }] }]
  }
  const faults: OptionFault[] = []
  for (const [index, route] of routes.entries()) {
    if (!isPlainObject(route)) continue
    const { group } = route
    const path = pathOf(['routes', index, 'group'])
    if (group === undefined && !names.includes(UNNAMED)) {
      const message = 'is missing, and there is no unnamed group'
      faults.push({ path, message, value: undefined, allowed: named, example })
    } else if (typeof group === 'string' && !names.includes(group)) {
      const meant = nearest(group, names)
      const hint = meant === null ? '' : `; did you mean ${show(meant)}?`
      const message = `is ${show(group)}, and there is no such group${hint}`
      faults.push({ path, message, value: group, allowed: named, example: meant ?? example })
    }
  }
  return faults
}

/** Patterns with an encoded slash, backslash or NUL, where no request with one gets as far as to be compared with them. */
function encodedFaults({ routes, routing }: Options): OptionFault[] {
  if (!Array.isArray(routes)) return []
  const { encodedSlashes = 'refuse' } = isPlainObject(routing) ? routing : {}
  if (encodedSlashes === 'pass') return []
  return routes.flatMap((route, index) =>
    ['path', 'stripPrefix'].flatMap((key): OptionFault[] => {
      const value = isPlainObject(route) ? route[key] : undefined
      const found = typeof value === 'string' ? /%(?:2f|5c|00)/i.exec(value)?.[0] : undefined
      if (typeof value !== 'string' || found === undefined) return []
      const meant = value.replace(/%(?:2f|5c)/gi, '/').replace(/%00/g, '')
      const message = `has ${found}, which no request has that is matched: routing.encodedSlashes is ${show(encodedSlashes)}; did you mean ${show(meant)}?`
      const allowed = "a path without %2F, %5C and %00, unless routing.encodedSlashes is 'pass'"
      return [{ path: pathOf(['routes', index, key]), message, value, allowed, example: meant }]
    }),
  )
}

/** Policies beside `groups` are the unnamed group's. Where there is none they would do nothing, without a word. */
function orphanFaults(input: Options, hasUnnamed: boolean): OptionFault[] {
  if (hasUnnamed) return []
  return ['balancer', 'affinity', 'pool', 'healthCheck', 'retry']
    .filter((key) => input[key] !== undefined)
    .map((key) => ({
      path: key,
      message: 'belongs to the unnamed group, and there is none',
      value: input[key],
      allowed: `${key} in each of the groups`,
      example: isPlainObject(input[key]) || typeof input[key] === 'function' ? {} : input[key],
    }))
}

function missing(path: string, message: string): OptionFault {
  return {
    path,
    message,
    value: undefined,
    allowed: 'a list of backends; an empty one answers 503',
    example: [EXAMPLE_URL],
  }
}

/** The id that the backend will have, or `null` where it cannot be made. */
function idOf(backend: unknown): string | null {
  if (typeof backend !== 'string' && !(backend instanceof URL) && !isPlainObject(backend)) return null
  try {
    return new Backend(backend as BackendInit | string | URL).id
  } catch {
    return null
  }
}
