import grpc from '@grpc/grpc-js'
import { queue } from '../support/running-proxy.ts'

const same = (bytes: Buffer): Buffer => bytes

function method(path: string, requestStream: boolean, responseStream: boolean): grpc.MethodDefinition<Buffer, Buffer> {
  const codec = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  }
  return { path, requestStream, responseStream, ...codec }
}

/** A service whose messages are bytes. */
export const ECHO = {
  Unary: method('/test.Echo/Unary', false, false),
  Down: method('/test.Echo/Down', false, true),
  Up: method('/test.Echo/Up', true, false),
  Both: method('/test.Echo/Both', true, true),
}
const HEALTH = { Check: method('/grpc.health.v1.Health/Check', false, false) }

const OPTIONS = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 }
/** No retries and no service config, so that a client sees each failure; a channel of its own. */
const CLIENT_OPTIONS = {
  ...OPTIONS,
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
  // Over TLS a name is needed, and the address is none.
  'grpc.ssl_target_name_override': 'localhost',
}

/** A server of @grpc/grpc-js. */
export interface EchoServer extends AsyncDisposable {
  readonly port: number
  readonly server: grpc.Server
  /** Methods of calls that hang, as they begin, and as they are cancelled. */
  readonly hanging: () => Promise<string>
  readonly cancelled: () => Promise<string>
  /** Calls that have come. */
  calls: number
  /** What its health service says. */
  servingStatus: number
}

/**
 * Starts a server. Metadata tells it what to do: `do: fail` (status 9), `do: hang`, `do: forever` (a stream that does not end), and `count`
 * and `size` of what `Down` sends. Everything else is echoed.
 */
export async function echoServer(
  options: grpc.ServerOptions = {},
  credentials = grpc.ServerCredentials.createInsecure(),
): Promise<EchoServer> {
  const server = new grpc.Server({ ...OPTIONS, ...options })
  const hanging = queue<string>()
  const cancelled = queue<string>()
  const self = { port: 0, server, hanging: hanging.next, cancelled: cancelled.next, calls: 0, servingStatus: 1 }
  const hang = (call: grpc.ServerUnaryCall<Buffer, Buffer> | grpc.ServerWritableStream<Buffer, Buffer>): void => {
    call.on('cancelled', () => cancelled.push(call.getPath()))
    hanging.push(call.getPath())
  }
  server.addService(ECHO, {
    Unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) {
      self.calls++
      const what = call.metadata.get('do')[0]
      if (what === 'hang') return hang(call)
      if (what === 'fail') {
        const metadata = new grpc.Metadata()
        metadata.set('why', 'asked')
        metadata.set('why-bin', Buffer.from([0, 1, 255]))
        return callback({ code: grpc.status.FAILED_PRECONDITION, details: 'as asked: ü 50%', metadata })
      }
      call.sendMetadata(echoed(call.metadata, 'head'))
      callback(null, call.request, echoed(call.metadata, 'trail'))
    },
    Down(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      const count = Number(call.metadata.get('count')[0] ?? 0)
      const message = Buffer.alloc(Number(call.metadata.get('size')[0] ?? 1), 'd')
      const isForever = call.metadata.get('do')[0] === 'forever'
      if (isForever) hang(call)
      let sent = 0
      const send = (): void => {
        while (sent < count) if (sent++ < count && !call.write(message)) return void call.once('drain', send)
        if (!isForever) call.end()
      }
      send()
    },
    Up(call: grpc.ServerReadableStream<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) {
      let count = 0
      let bytes = 0
      call.on('data', (message: Buffer) => {
        count++
        bytes += message.length
      })
      call.on('end', () => callback(null, Buffer.from(`${count} ${bytes}`)))
    },
    Both(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      call.on('data', (message: Buffer) => call.write(message)).on('end', () => call.end())
    },
  })
  server.addService(HEALTH, {
    Check(_call: unknown, callback: grpc.sendUnaryData<Buffer>) {
      callback(null, Buffer.from([8, self.servingStatus]))
    },
  })
  self.port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error === null ? resolve(port) : reject(error))),
  )
  return Object.assign(self, {
    async [Symbol.asyncDispose]() {
      server.forceShutdown()
    },
  })
}

function echoed(metadata: grpc.Metadata, where: string): grpc.Metadata {
  const copy = new grpc.Metadata()
  copy.set('where', where)
  for (const name of ['x-text', 'x-data-bin']) for (const value of metadata.get(name)) copy.add(name, value)
  return copy
}

/** How a call has ended. */
export interface Ended {
  readonly code: number
  readonly details: string
  readonly head: grpc.Metadata | null
  readonly trailers: grpc.Metadata
  readonly message: Buffer | undefined
}

export interface EchoClient extends AsyncDisposable {
  readonly raw: grpc.Client
  /** Makes a unary call. @param tap gets the call when it has begun. */
  unary(
    metadata?: Record<string, string | Buffer>,
    message?: Buffer,
    options?: grpc.CallOptions,
    tap?: (call: grpc.ClientUnaryCall) => void,
  ): Promise<Ended>
  down(metadata: Record<string, string>): grpc.ClientReadableStream<Buffer>
  up(messages: Iterable<Buffer>): Promise<string>
  both(): grpc.ClientDuplexStream<Buffer, Buffer>
}

/** A client with a connection of its own. */
export function echoClient(port: number, credentials = grpc.credentials.createInsecure()): EchoClient {
  const raw = new grpc.Client(`127.0.0.1:${port}`, credentials, CLIENT_OPTIONS)
  return {
    raw,
    unary: (metadata = {}, message = Buffer.from('hello'), options = {}, tap = () => {}) =>
      new Promise((resolve) => {
        let head: grpc.Metadata | null = null
        let answer: Buffer | undefined
        const call = raw.makeUnaryRequest(
          ECHO.Unary.path,
          same,
          same,
          message,
          toMetadata(metadata),
          options,
          (_e, value) => {
            answer = value
          },
        )
        call.on('metadata', (received) => {
          head = received
        })
        call.on('status', ({ code, details, metadata: trailers }) =>
          setImmediate(() => resolve({ code, details, head, trailers, message: answer })),
        )
        tap(call)
      }),
    down: (metadata) =>
      watched(raw.makeServerStreamRequest(ECHO.Down.path, same, same, Buffer.from('down'), toMetadata(metadata))),
    up: (messages) =>
      new Promise((resolve, reject) => {
        const call = raw.makeClientStreamRequest(ECHO.Up.path, same, same, (error, value) =>
          error === null ? resolve(String(value)) : reject(error),
        )
        for (const message of messages) call.write(message)
        call.end()
      }),
    both: () => watched(raw.makeBidiStreamRequest(ECHO.Both.path, same, same)),
    async [Symbol.asyncDispose]() {
      raw.close()
    },
  }
}

function toMetadata(values: Record<string, string | Buffer>): grpc.Metadata {
  const metadata = new grpc.Metadata()
  for (const [name, value] of Object.entries(values)) metadata.set(name, value)
  return metadata
}

const statuses = new WeakMap<object, Promise<grpc.StatusObject>>()

/** Notes how a call ends, from its beginning. */
function watched<Call extends grpc.ClientReadableStream<Buffer>>(call: Call): Call {
  call.on('error', () => {})
  statuses.set(call, new Promise((resolve) => call.on('status', resolve)))
  return call
}

/** The code with which a stream ends. */
export async function codeOf(call: grpc.ClientReadableStream<Buffer>): Promise<number | undefined> {
  return (await statuses.get(call))?.code
}
