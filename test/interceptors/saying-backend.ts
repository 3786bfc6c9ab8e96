import { type MockBackend, mockBackend } from '../../src/testing/index.ts'
import { converse } from '../support/raw-client.ts'

/** A backend that sends the headers that a request asks for in `X-Say` (`name: value`, in latin1), with the status in `X-Status`. */
export function sayingBackend(options: Parameters<typeof mockBackend>[1] = {}): Promise<MockBackend> {
  return mockBackend((request, reply) => {
    const headers = request.headers.filter((_, i) => i % 2 === 1 && request.headers[i - 1]?.toLowerCase() === 'x-say')
    reply.send({
      status: Number(request.header('x-status') ?? 302),
      headers: headers.flatMap((line) => [
        line.slice(0, line.indexOf(':')),
        line.slice(line.indexOf(':') + 1).trimStart(),
      ]),
    })
  }, options)
}

/** Has the backend say something. @returns all values of `name` that the client gets. */
export async function said(
  front: { readonly port: number },
  name: string,
  values: readonly string[],
  { host = 'public.test', path = '/', status = 302, more = '', version = '1.1' } = {},
): Promise<string[]> {
  const lines = values.map((value) => `X-Say: ${name}: ${value}\r\n`).join('')
  const hostLine = host === '' ? '' : `Host: ${host}\r\n`
  const head = `GET ${path} HTTP/${version}\r\n${hostLine}X-Status: ${status}\r\n${lines}${more}Connection: close\r\n\r\n`
  const { text } = await converse(front.port, head)
  if (!text.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`expected ${status}: ${text}`)
  const found = text.slice(0, text.indexOf('\r\n\r\n')).matchAll(new RegExp(`^${name}: (.*)\r?$`, 'gim'))
  return Array.from(found, ([, value = '']) => value)
}
