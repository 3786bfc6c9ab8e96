import { Backend, type BackendInit } from '../model/backend.ts'
import { nearest } from '../runtime/nearest.ts'
import { EXAMPLE_URL } from './backend-schema.ts'
import { type OptionFault, show } from './options-error.ts'
import { isPlainObject, pathOf } from './rules.ts'

/** Key of the unnamed group in `ResolvedOptions.groups`. */
export const UNNAMED = 'default'

type Options = Readonly<Record<string, unknown>>

/**
 * Finds contradictions between options that are valid one by one. Reads the unchecked input, but only well-formed parts: the
 * schema reports the rest in the same error.
 */
export function inconsistencies(input: unknown): OptionFault[] {
  if (!isPlainObject(input)) return []
  const groups = isPlainObject(input.groups) ? input.groups : {}
  const hasUnnamed = hasUnnamedGroup(input)
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
      message: 'is the unnamed group, whose backends are also set outside of `groups`',
      value: groups[UNNAMED],
      allowed: 'only one of the two',
      example: { groups: { [UNNAMED]: { backends: [EXAMPLE_URL] } } },
    })
  }
  faults.push(...encodedFaults(input))
  if (!areGroupsReadable) return faults
  faults.push(...routeFaults(input, names), ...orphanFaults(input, hasUnnamed))
  return faults
}

/** The fault of an update without any backends for a proxy that has some: it would remove them all. `null` if there is none. */
export function removalFault(options: object): OptionFault | null {
  if (!hasNoGroups(options as Options)) return null
  return missing('backends', 'is missing: an update has all options, not only those that change')
}

/** Whether there is an unnamed group. Without any group it has no backends, and calls name their target. */
export function hasUnnamedGroup(options: Options): boolean {
  return options.backends !== undefined || options.target !== undefined || hasNoGroups(options)
}

/** Whether the options name no backends at all, neither in groups nor outside of them. */
function hasNoGroups({ backends, target, groups = {} }: Options): boolean {
  return backends === undefined && target === undefined && isPlainObject(groups) && Object.keys(groups).length === 0
}

function groupFaults({ backends, target, healthCheck }: Options, at: readonly string[]): OptionFault[] {
  const faults = probeFaults(healthCheck, at)
  if (backends !== undefined && target !== undefined) {
    faults.push({
      path: pathOf([...at, 'target']),
      message: 'cannot be used together with `backends`',
      value: target,
      allowed: '`target` for a single backend, or `backends` for several',
      example: EXAMPLE_URL,
    })
  }
  faults.push(...headerFaults(target, [...at, 'target']))
  if (!Array.isArray(backends)) return faults
  for (const [index, backend] of backends.entries()) faults.push(...headerFaults(backend, [...at, 'backends', index]))
  const seen = new Map<string, number>()
  for (const [index, backend] of backends.entries()) {
    const id = idOf(backend)
    const first = id === null ? undefined : seen.get(id)
    if (id !== null && first === undefined) seen.set(id, index)
    if (first === undefined) continue
    faults.push({
      path: pathOf([...at, 'backends', index]),
      message: `has the same id ${show(id)} as ${pathOf([...at, 'backends', first])}`,
      value: backend,
      allowed: 'an id that is unique in the group; the default is the origin of the URL',
      example: { url: EXAMPLE_URL, id: `backend-${index + 1}` },
    })
  }
  return faults
}

/** A connection of HTTP/2 carries requests of many clients, and the PROXY header names one. */
function headerFaults(backend: unknown, at: readonly (string | number)[]): OptionFault[] {
  if (!isPlainObject(backend) || backend.proxyProtocol === undefined) return []
  const { protocol = 'http/1.1', proxyProtocol } = backend
  if (protocol !== 'h2' && protocol !== 'auto') return []
  const message = `cannot be used together with protocol ${show(protocol)}: its connections carry requests of many clients`
  const allowed = "protocol 'http/1.1', or no proxyProtocol"
  return [
    {
      path: pathOf([...at, 'proxyProtocol']),
      message,
      value: proxyProtocol,
      allowed,
      example: { url: EXAMPLE_URL, proxyProtocol: 'v2' },
    },
  ]
}

/** Options of the other type of probe. */
function probeFaults(healthCheck: unknown, at: readonly string[]): OptionFault[] {
  const probe = isPlainObject(healthCheck) ? healthCheck.probe : undefined
  if (!isPlainObject(probe)) return []
  const isGrpc = probe.type === 'grpc'
  const others = isGrpc ? ['path', 'method', 'statuses'] : ['service']
  return others
    .filter((key) => probe[key] !== undefined)
    .map((key) => ({
      path: pathOf([...at, 'healthCheck', 'probe', key]),
      message: `cannot be used with a probe of type '${isGrpc ? 'grpc' : 'http'}'`,
      value: probe[key],
      allowed: isGrpc ? 'service, host and the times' : "service only with type: 'grpc'",
      example: isGrpc ? { type: 'grpc', service: 'shop.Orders' } : { type: 'grpc', service: probe[key] },
    }))
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
      routes === undefined ? 'is missing: no route leads to the groups' : 'is empty: no route leads to the groups'
    const allowed = 'a list of routes; only an unnamed group works without routes'
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
      const suggestion = nearest(group, names)
      const hint = suggestion === null ? '' : `; did you mean ${show(suggestion)}?`
      const message = `is ${show(group)}, but there is no such group${hint}`
      faults.push({ path, message, value: group, allowed: named, example: suggestion ?? example })
    }
  }
  return faults
}

/** Patterns with an encoded slash, backslash or NUL that no request can match, because routing refuses or decodes these. */
function encodedFaults({ routes, routing }: Options): OptionFault[] {
  if (!Array.isArray(routes)) return []
  const { encodedSlashes = 'refuse' } = isPlainObject(routing) ? routing : {}
  if (encodedSlashes === 'pass') return []
  return routes.flatMap((route, index) =>
    ['path', 'stripPrefix'].flatMap((key): OptionFault[] => {
      const value = isPlainObject(route) ? route[key] : undefined
      const found = typeof value === 'string' ? /%(?:2f|5c|00)/i.exec(value)?.[0] : undefined
      if (typeof value !== 'string' || found === undefined) return []
      const suggestion = value.replace(/%(?:2f|5c)/gi, '/').replace(/%00/g, '')
      const message = `has ${found}, so no request can match it: routing.encodedSlashes is ${show(encodedSlashes)}; did you mean ${show(suggestion)}?`
      const allowed = "a path without %2F, %5C and %00, unless routing.encodedSlashes is 'pass'"
      return [{ path: pathOf(['routes', index, key]), message, value, allowed, example: suggestion }]
    }),
  )
}

/** Policies outside of `groups` belong to the unnamed group. Without one they would silently do nothing. */
function orphanFaults(input: Options, hasUnnamed: boolean): OptionFault[] {
  if (hasUnnamed) return []
  return ['balancer', 'affinity', 'pool', 'healthCheck', 'retry']
    .filter((key) => input[key] !== undefined)
    .map((key) => ({
      path: key,
      message: 'belongs to the unnamed group, but there is none',
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
    allowed: 'a list of backends; with an empty list requests get 503',
    example: [EXAMPLE_URL],
  }
}

/** The id of the backend, or `null` if its description is invalid. */
function idOf(backend: unknown): string | null {
  if (typeof backend !== 'string' && !(backend instanceof URL) && !isPlainObject(backend)) return null
  try {
    return new Backend(backend as BackendInit | string | URL).id
  } catch {
    return null
  }
}
