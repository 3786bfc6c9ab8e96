import type { HeaderView } from '../contracts/transform.ts'
import { fieldValue, fieldValues, isFieldValue, isToken, removeField } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'

/** Framing is rebuilt from what was parsed; a transform cannot change it. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'upgrade'])

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
      const lower = name.toLowerCase()
      if (!FRAMING.has(lower)) removeField(list, lower)
    },
    *entries() {
      for (let i = 0; i < list.length; i += 2) yield [list[i] as string, list[i + 1] as string]
    },
  }
}

function check(name: string, value: string): void {
  if (!isToken(name)) throw new TypeError(`${JSON.stringify(name)} is not a header name`)
  if (FRAMING.has(name.toLowerCase())) {
    throw new TypeError(`${name} is part of the message's framing, which the proxy writes itself`)
  }
  if (typeof value !== 'string' || !isFieldValue(value)) {
    throw new TypeError(`the value of ${name} has characters that cannot stand in a header: ${JSON.stringify(value)}`)
  }
}
