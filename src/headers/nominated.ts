import { isName, listMembers, removeFields } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { classify } from './facts.ts'

/** Whether `value` is one of the usual values of `Connection`, which nominate no header. */
export function isPlainConnection(value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Keep-Alive' || value === 'Close' || value === ''
}

/** The names that a head's `Connection` nominates, in lower case; `null` for none. */
export function nominatedNames(head: Readonly<HeaderList>): ReadonlySet<string> | null {
  let nominated = ''
  for (let i = 0; i < head.length; i += 2) {
    const value = head[i + 1] as string
    if (isName(head[i] as string, 'connection') && !isPlainConnection(value)) nominated += `,${value}`
  }
  return nominated === '' ? null : listMembers(nominated)
}

/**
 * Removes the headers that `Connection` nominates (RFC 9110 section 7.6.1).
 * @param nominated all values of `Connection`, joined.
 * @param keptFact headers with this fact stay: KEPT_IN_REQUESTS or KEPT_IN_RESPONSES.
 * @param kept further names that stay, in lower case.
 */
export function removeNominated(
  list: HeaderList,
  nominated: string,
  keptFact: number,
  kept: ReadonlySet<string> | null = null,
): void {
  const names = listMembers(nominated)
  removeFields(list, (lower) => names.has(lower) && (classify(lower) & keptFact) === 0 && kept?.has(lower) !== true)
}
