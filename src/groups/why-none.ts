import type { Group } from './group.ts'

/** Why a group has no backend for an exchange. */
export function whyNone({ name, backends, affinity }: Pick<Group, 'name' | 'backends' | 'affinity'>): string {
  if (backends.length === 0) {
    return `group ${name} has no backends: add some with setBackends(), or call proxy.web with a target`
  }
  const counts = new Map<string, number>()
  for (const backend of backends) counts.set(backend.status(), (counts.get(backend.status()) ?? 0) + 1)
  if (counts.has('available') && affinity?.onLost === 'refuse') {
    return `the backend that affinity ${affinity.name} has found in group ${name} is not available, and it refuses all others`
  }
  return `no backend of group ${name} is available: ${Array.from(counts, ([status, count]) => `${count} ${status}`).join(', ')}`
}
