import type { HeaderList } from '../model/exchange-view.ts'

/** Headers of a response: a flat list, or a record if the order does not matter. */
export type MockHeaders = Readonly<HeaderList> | Readonly<Record<string, string | readonly string[]>>

/** Copies either form into a flat list. */
export function flatHeaders(headers: MockHeaders = []): HeaderList {
  if (Array.isArray(headers)) return [...(headers as Readonly<HeaderList>)]
  return Object.entries(headers as Readonly<Record<string, string | readonly string[]>>).flatMap(([name, value]) =>
    [value].flat().flatMap((line) => [name, line as string]),
  )
}

/** The values of a header, by name in any case, in their order. */
export function all(headers: Readonly<HeaderList>, name: string): string[] {
  const lower = name.toLowerCase()
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === lower)
}

/** The first value of a header. */
export function find(headers: Readonly<HeaderList>, name: string): string | undefined {
  return all(headers, name)[0]
}

/** Whether the headers say how long the body is. */
export function hasFraming(headers: Readonly<HeaderList>): boolean {
  return find(headers, 'content-length') !== undefined || find(headers, 'transfer-encoding') !== undefined
}

/** A head as it is sent, with the empty line. */
export function headText(status: number, reason: string, headers: Readonly<HeaderList>): string {
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(headers)}\r\n`
}

/** The lines of headers as they are sent. */
export function fieldLines(headers: Readonly<HeaderList>): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return text
}
