import {
  createProxy,
  type ExchangeRecord,
  type ListenOptions,
  type Proxy,
  type ProxyError,
  type ProxyOptions,
} from '../../src/index.ts'
import { queue } from './running-proxy.ts'

/** A proxy that listens for HTTP/2 in clear text. */
export interface GrpcProxy extends AsyncDisposable {
  readonly proxy: Proxy
  readonly port: number
  readonly errors: ProxyError[]
  nextRecord(): Promise<ExchangeRecord>
}

export async function runGrpcProxy(options: ProxyOptions, listen: Partial<ListenOptions> = {}): Promise<GrpcProxy> {
  const proxy = createProxy({ drainTimeoutMs: 100, logger: 'silent', ...options })
  const records = queue<ExchangeRecord>()
  const errors: ProxyError[] = []
  proxy.on('finish', (_exchange, record) => records.push(record))
  proxy.on('error', (error) => errors.push(error))
  const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, protocols: ['h2', 'http/1.1'], ...listen })
  return { proxy, port, errors, nextRecord: records.next, [Symbol.asyncDispose]: () => proxy.close() }
}
