// A gRPC server with a health service, and a proxy in front of it, which carries unary calls and streams.
// Run: npm run build && node dist/examples/grpc/main.js
// Try: node dist/examples/grpc/main.js client http://127.0.0.1:8080
import { once } from 'node:events'
import grpc from '@grpc/grpc-js'
import loader from '@grpc/proto-loader'
import { createProxy } from 'heddle'

// Below the working directory, which is that of the package.
const definition = loader.loadSync(['shop.proto', 'health.proto'], { includeDirs: ['examples/grpc'] })

interface Item {
  readonly name: string
  readonly count: number
}
const ORDERS = definition['shop.Orders'] as grpc.ServiceDefinition
const HEALTH = definition['grpc.health.v1.Health'] as grpc.ServiceDefinition

if (process.argv[2] === 'client') await call(new URL(process.argv[3] ?? 'http://127.0.0.1:8080').host)
else await serve()

async function serve(): Promise<void> {
  const server = new grpc.Server()
  server.addService(ORDERS, {
    Get(request: grpc.ServerUnaryCall<Item, Item>, respond: grpc.sendUnaryData<Item>) {
      respond(null, { name: request.request.name, count: 3 })
    },
    Watch(request: grpc.ServerWritableStream<Item, Item>) {
      for (let count = 1; count <= 3; count++) request.write({ name: request.request.name, count })
      request.end()
    },
  })
  // The probe of the proxy asks this.
  server.addService(HEALTH, {
    Check: (_request: unknown, respond: grpc.sendUnaryData<object>) => respond(null, { status: 'SERVING' }),
  })
  const backend = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  )

  const proxy = createProxy({
    // HTTP/2 without TLS: by prior knowledge.
    backends: [{ url: `http://127.0.0.1:${backend}`, protocol: 'h2' }],
    healthCheck: { probe: { type: 'grpc' } },
    routes: [{ path: '/shop.Orders', grpc: true }],
  })
  proxy.on('finish', (exchange, { grpcStatus }) => console.log(`${exchange.path} ended with status ${grpcStatus}`))
  const { url } = await proxy.listen({
    port: Number(process.env.PORT ?? 8080),
    host: '127.0.0.1',
    protocols: ['h2', 'http/1.1'],
  })
  console.log(`listening on ${url}`)

  const stop = async (): Promise<void> => {
    await proxy.close()
    server.forceShutdown()
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
}

async function call(address: string): Promise<void> {
  const Orders = grpc.makeGenericClientConstructor(ORDERS, 'Orders')
  const client = new Orders(address, grpc.credentials.createInsecure()) as unknown as grpc.Client & {
    Get(item: Partial<Item>, callback: (error: Error | null, item: Item) => void): void
    Watch(item: Partial<Item>): grpc.ClientReadableStream<Item>
  }
  client.Get({ name: 'apples' }, (error, item) => console.log(error?.message ?? `${item.count} ${item.name}`))
  const watched = client.Watch({ name: 'pears' })
  watched.on('data', ({ name, count }: Item) => console.log(`now ${count} ${name}`))
  await once(watched, 'end')
  client.close()
}
