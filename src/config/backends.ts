import { Backend, type BackendInit } from '../model/backend.ts'
import { isSameData } from '../runtime/same-data.ts'
import { differenceOf } from '../runtime/span.ts'
import { BACKEND_KEYS } from './backend-schema.ts'
import { UNNAMED } from './consistency.ts'
import { resolveOptions } from './resolve.ts'
import { isPlainObject } from './rules.ts'

/** A backend, as an application may describe it. */
export type BackendInput = string | URL | BackendInit

/**
 * Checks new backends for a group that has `present` now. Unchanged ones are not checked again and keep their
 * {@link Backend.init} object, since discovery reports the same thousands over and over.
 * @throws OptionsError with every fault at once, as `createProxy()` does.
 */
export function resolveBackends(
  input: readonly BackendInput[],
  present: readonly Backend[] = [],
): readonly BackendInit[] {
  const all = [...input]
  const { start, end, endBefore } = differenceOf(present, all, isUnchanged)
  const others = resolveOthers(all.slice(start, end), present.slice(start, endBefore))
  // With a fault or a duplicate id, checks the whole list, so that the faults have the right positions.
  if (others === null) return resolveAll(all)
  const ids = new Set(others.map(({ id }) => id))
  const kept = [present.slice(0, start), present.slice(endBefore)] as const
  if (ids.size !== others.length || kept.some((some) => some.some(({ id }) => ids.has(id)))) return resolveAll(all)
  return Object.freeze([...kept[0], ...others, ...kept[1]].map(({ init }) => init))
}

/** A checked copy of the backend of a `target` override. @throws OptionsError with every fault at once. */
export function resolveTarget(input: BackendInput): BackendInit {
  return resolveOptions({ target: input }).groups.get(UNNAMED)?.backends[0] as BackendInit
}

/** @param present current backends; some may be in `input` at other positions. @returns `null` if there is a fault. */
function resolveOthers(input: readonly BackendInput[], present: readonly Backend[]): readonly Backend[] | null {
  if (input.length === 0) return []
  const byKey = new Map<unknown, Backend>()
  for (const backend of present) byKey.set(keyOf(backend.init), backend)
  const found = input.map((each) => {
    const backend = byKey.get(keyOf(each))
    return backend !== undefined && isUnchanged(backend, each) ? backend : null
  })
  try {
    const rest = input.filter((_, index) => found[index] === null)
    const checked = rest.length === 0 ? [] : resolveAll(rest)
    const next = checked.values()
    return found.map((backend) => backend ?? new Backend(next.next().value as BackendInit))
  } catch {
    return null
  }
}

function resolveAll(input: readonly BackendInput[]): readonly BackendInit[] {
  return resolveOptions({ backends: [...input] }).groups.get(UNNAMED)?.backends ?? []
}

function keyOf(input: unknown): unknown {
  const { id, url } = isPlainObject(input) ? input : { id: undefined, url: input }
  return id ?? (url instanceof URL ? url.href : url)
}

/** Whether `input` describes the backend without any change. */
function isUnchanged({ init }: Backend, input: unknown): boolean {
  if (!isPlainObject(input)) return isUrl(input, init) && Object.keys(init).length === 1
  if (!isUrl(input.url, init) || input.id !== init.id || input.weight !== init.weight) return false
  if (input.protocol !== init.protocol || input.proxyProtocol !== init.proxyProtocol) return false
  // Compared by identity: it belongs to the application, and may be anything.
  if (input.metadata !== init.metadata) return false
  if (!isSameData(input.tls, init.tls)) return false
  for (const key in input) if (!BACKEND_KEYS.has(key)) return false
  return true
}

function isUrl(input: unknown, { url }: BackendInit): boolean {
  return input === url || (input instanceof URL && input.href === url)
}
