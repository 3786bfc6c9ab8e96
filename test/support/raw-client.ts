import net from 'node:net'

/** How a connection ended: a FIN, or the code of its error. */
export type Ending = 'end' | string

/** A client on a raw socket. Text is latin1, a byte a character. */
export interface RawClient {
  readonly socket: net.Socket
  /** All that has come so far. */
  readonly text: string
  write(bytes: string | Uint8Array): void
  /** Resolves once `mark` has come `times` times (default once), with all that has come; rejects where the connection ends before. */
  until(mark: string, times?: number): Promise<string>
  /** Resolves when the connection is over. */
  readonly ended: Promise<Ending>
}

/** Connects to a port on loopback, or to a unix socket. */
export function rawClient(where: number | string): RawClient {
  const socket = typeof where === 'number' ? net.connect(where, '127.0.0.1') : net.connect(where)
  const checks = new Set<() => void>()
  let text = ''
  let ending: Ending | null = null
  let failure = ''
  function check(): void {
    for (const one of checks) one()
  }
  const ended = new Promise<Ending>((resolve) => {
    socket
      .on('data', (bytes) => {
        text += bytes.toString('latin1')
        check()
      })
      .on('error', (error: NodeJS.ErrnoException) => {
        failure = error.code ?? error.message
      })
      .on('close', () => {
        ending = failure === '' ? 'end' : failure
        check()
        resolve(ending)
      })
  })
  return {
    socket,
    get text() {
      return text
    },
    write(bytes) {
      if (typeof bytes === 'string') socket.write(bytes, 'latin1')
      else socket.write(bytes)
    },
    until: (mark, times = 1) =>
      new Promise((resolve, reject) => {
        const one = (): void => {
          if (text.split(mark).length > times) resolve(text)
          else if (ending !== null)
            reject(new Error(`ended (${ending}) before ${JSON.stringify(mark)}: ${JSON.stringify(text.slice(0, 500))}`))
          else return
          checks.delete(one)
        }
        checks.add(one)
        one()
      }),
    ended,
  }
}

/** Sends `bytes`, reads until the connection ends. */
export async function converse(where: number | string, bytes: string): Promise<{ text: string; ending: Ending }> {
  const client = rawClient(where)
  client.write(bytes)
  const ending = await client.ended
  return { text: client.text, ending }
}

/** Sends the last request of a connection. @returns the response to it, head and body. */
export async function askLast(client: RawClient, path: string, headers: readonly string[] = []): Promise<string> {
  const from = client.text.length
  const lines = ['Host: test', 'Connection: close', ...headers].map((line) => `${line}\r\n`).join('')
  client.write(`GET ${path} HTTP/1.1\r\n${lines}\r\n`)
  await client.ended
  return client.text.slice(from)
}

/** Resolves when nobody listens there any more. */
export async function untilRefused(where: number | string): Promise<void> {
  for (;;) {
    const client = rawClient(where)
    client.socket.on('connect', () => client.socket.destroy())
    if ((await client.ended) !== 'end') return
  }
}
