import net, { type Socket } from 'node:net'
import { HpackDecoder } from '../../../src/http2/hpack-decoder.ts'
import { FRAME, PREFACE } from '../../../src/http2/protocol.ts'
import { type Frame, frameParser, settings } from '../../http2/wire.ts'

/** A client whose frames a test writes. */
export interface RawClient extends AsyncDisposable {
  readonly socket: Socket
  /** The frames that have come, and how the connection has ended: `end`, or the code of an error. */
  readonly frames: Frame[]
  readonly closed: Promise<string>
  send(...frames: readonly Buffer[]): void
  /** The first frame for which it holds, which has come or will come. */
  until(what: (frame: Frame) => boolean): Promise<Frame>
  /** Fields of a HEADERS frame. Only in the order of the wire. */
  fields(frame: Frame): string[]
}

/** Connects to a port of this machine, and sends the preface. */
export function rawClient(port: number, first: Buffer = settings()): RawClient {
  const socket = net.connect({ port, host: '127.0.0.1' })
  socket.write(Buffer.concat([PREFACE, first]))
  const frames: Frame[] = []
  const decoder = new HpackDecoder({ maxHeadBytes: 1 << 20, maxHeaders: 1000 })
  const parse = frameParser()
  let look = (): void => {}
  let hasEnded = false
  socket.on('data', (chunk: Buffer) => {
    frames.push(...parse(chunk))
    look()
  })
  const closed = new Promise<string>((resolve) => {
    socket
      .on('end', () => {
        hasEnded = true
      })
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
      .on('close', () => resolve(hasEnded ? 'end' : 'close'))
  })
  return {
    socket,
    frames,
    closed,
    send: (...some) => void socket.write(Buffer.concat(some)),
    until: (what) =>
      new Promise((resolve, reject) => {
        look = () => {
          const found = frames.find(what)
          if (found !== undefined) resolve(found)
        }
        look()
        void closed.then((how) => reject(new Error(`the connection is closed: ${how}`)))
      }),
    fields: ({ type, payload }) => {
      const block = type === FRAME.HEADERS ? decoder.decode(payload, 0, payload.length) : null
      return block === null ? [] : [...block.pseudo, ...block.list]
    },
    async [Symbol.asyncDispose]() {
      socket.destroy()
    },
  }
}
