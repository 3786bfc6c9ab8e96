import type { HeaderList } from '../index.ts'

/** The token of a request: `undefined` if there is none, `null` if it is ambiguous. */
export function tokenOf(
  headers: Readonly<HeaderList>,
  header: string,
  cookie: string | null,
): string | null | undefined {
  const isBearer = /^authorization$/i.test(header)
  const [first, ...more] = valuesOf(headers, header.toLowerCase())
  // Another server may read another one than we.
  if (more.length > 0) return null
  if (first !== undefined && !isBearer) return first.trim()
  const bearer = /^bearer +(\S+) *$/i.exec(first ?? '')?.[1]
  if (bearer !== undefined || cookie === null) return bearer
  const found = valuesOf(headers, 'cookie').flatMap((line) => cookiesOf(line, cookie))
  return found.length > 1 ? null : found[0]
}

function valuesOf(headers: Readonly<HeaderList>, lowerName: string): string[] {
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === lowerName.length && name.toLowerCase() === lowerName) values.push(headers[i + 1] as string)
  }
  return values
}

/** The values of a cookie in a `Cookie` header (RFC 6265 section 4.2). */
function cookiesOf(line: string, name: string): string[] {
  return line
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1).replace(/^"(.*)"$/, '$1'))
}

/**
 * A claim as the value of a header; `undefined` for none. `decodeURIComponent()` gives back what was encoded. The result cannot be
 * changed on its way: it has no control characters, nothing beyond ASCII, and no white space at its ends, which would be dropped.
 */
export function claimText(claim: unknown): string | undefined {
  if (claim === undefined || claim === null) return undefined
  if (!Array.isArray(claim)) return encoded(textOf(claim))
  return claim.map((member) => encoded(textOf(member)).replaceAll(',', '%2C')).join(',')
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function encoded(text: string): string {
  // Half of a surrogate pair cannot be encoded; Buffer replaces it.
  return text.replace(/[^\x20-\x7e]+|%|^ | $/g, (part) => encodeURIComponent(Buffer.from(part).toString()))
}
