import { fieldValue, fieldValues, isFieldValue, isToken, removeField } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'
import { classify, RESERVED } from './facts.ts'

/** A {@link HeaderView} that writes straight into `list`. */
export function headerView(list: HeaderList): HeaderView {
  return {
    get: (name) => fieldValue(list, name.toLowerCase()),
    has: (name) => fieldValue(list, name.toLowerCase()) !== undefined,
    getAll: (name) => fieldValues(list, name.toLowerCase()),
    set(name, value) {
      check(name, value)
      removeField(list, name.toLowerCase())
      list.push(name, value)
    },
    append(name, value) {
      check(name, value)
      list.push(name, value)
    },
    delete(name) {
      if (!isReserved(name)) removeField(list, name.toLowerCase())
    },
    entries: () => entriesOf(list),
  }
}

/** Outside of the view: a generator function that is created with each view takes ten times as long. */
function* entriesOf(list: Readonly<HeaderList>): Generator<[name: string, value: string], void> {
  for (let i = 0; i < list.length; i += 2) yield [list[i] as string, list[i + 1] as string]
}

/** Whether only the proxy writes this header, so that no transform can change it. */
export function isReserved(name: string): boolean {
  return (classify(name) & RESERVED) !== 0
}

function check(name: string, value: string): void {
  if (!isToken(name)) throw new TypeError(`${JSON.stringify(name)} is not a header name`)
  if (isReserved(name)) throw new TypeError(`${name} belongs to the connection and is written by the proxy itself`)
  if (typeof value !== 'string' || !isFieldValue(value)) {
    throw new TypeError(`the value of ${name} has characters that are invalid in a header: ${JSON.stringify(value)}`)
  }
}
