import type { HeaderList } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'

/**
 * The text of a request head (RFC 9112 section 3), for `socket.write(head, 'latin1')`.
 * @param bodyBytes length of the body, -1 for chunks, `null` for no body. It alone decides the framing headers.
 * @param isLast asks the backend to close the connection (RFC 9112 section 9.6).
 */
export function requestHeadText(head: RequestHead, bodyBytes: number | null, isLast = false): string {
  let text = `${head.method} ${head.path} HTTP/1.1\r\n${fieldsText(head.headers)}`
  if (bodyBytes === null) {
    // RFC 9110 section 8.6: without a body, a method that anticipates content sends Content-Length: 0.
    if (anticipatesContent(head.method)) text += 'Content-Length: 0\r\n'
  } else if (bodyBytes >= 0) text += `Content-Length: ${bodyBytes}\r\n`
  else text += 'Transfer-Encoding: chunked\r\n'
  if (isLast) text += 'Connection: close\r\n'
  return `${text}\r\n`
}

/** Field lines, each ended by CRLF. */
export function fieldsText(headers: Readonly<HeaderList>): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return text
}

/** Whether a request with this method has content, or says that it has none (RFC 9110 section 8.6). */
export function anticipatesContent(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH'
}
