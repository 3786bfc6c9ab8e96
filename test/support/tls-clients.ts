import { once } from 'node:events'
import tls, { type ConnectionOptions } from 'node:tls'

/** One connection, when it has ended. */
export interface TlsVisit {
  /** The common name of the server's certificate. */
  readonly name: string
  readonly isResumed: boolean
  /** The latest session, for the next visit. */
  readonly session: Buffer | undefined
  /** What the server has sent. */
  readonly text: string
}

/** Connects to a port of this machine, sends a request whose connection ends, and reads until the end. */
export async function visit(
  port: number,
  options: ConnectionOptions = {},
  request = 'GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n',
): Promise<TlsVisit> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  let session: Buffer | undefined
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.on('session', (latest: Buffer) => {
    session = latest
  })
  await once(socket, 'secureConnect')
  const name = String(socket.getPeerCertificate().subject?.CN)
  const isResumed = socket.isSessionReused()
  socket.write(request)
  await once(socket, 'close')
  return { name, isResumed, session, text }
}
