import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { MessageChannel } from 'node:worker_threads'
import { ProxyError } from '../model/errors.ts'

/**
 * How connections are spread over threads. `kernel`: each thread listens on the port, and the kernel spreads (SO_REUSEPORT).
 * `least-loaded`: the main thread accepts connections, and hands each to the thread with the fewest.
 */
export type Spread = 'kernel' | 'least-loaded'

// The abilities of this runtime. Each is tried once.
let canReuse: Promise<boolean> | null = null
let canTransfer: Promise<boolean> | null = null
let canHandOver: Promise<boolean> | null = null

/** @throws {@link ProxyError} `ERR_PROXY_THREADS` if this runtime supports neither; its message says what to do. */
export async function chooseSpread(wanted: Spread | undefined): Promise<Spread> {
  canReuse ??= tryReusePort()
  if (wanted !== 'least-loaded' && (await canReuse)) return 'kernel'
  canTransfer ??= tryTransfer()
  if (wanted !== 'kernel' && (await canTransfer)) return 'least-loaded'
  throw new ProxyError(
    'ERR_PROXY_THREADS',
    wanted === 'kernel'
      ? `several threads cannot listen on one port here (${process.platform}, node ${process.versions.node}): SO_REUSEPORT needs Linux and node 22.12. Leave out spread, or use one thread`
      : wanted === 'least-loaded'
        ? `connections cannot be handed to threads here (${process.platform}, node ${process.versions.node}): spread: 'least-loaded' needs node 26, not on Windows. Leave out spread, or use one thread`
        : `threads cannot share a port here (${process.platform}, node ${process.versions.node}): use Linux with node 22.12 or macOS with node 26, or one thread, or several processes behind a load balancer`,
  )
}

/**
 * Whether a thread can hand its listening socket to another one (node 26). If not, the connections in its queue are lost when
 * it closes.
 */
export function canHandOverListeners(): Promise<boolean> {
  canHandOver ??= tryHandOver()
  return canHandOver
}

/** A node that does not know the option ignores it, so the second server finds the port taken. */
async function tryReusePort(): Promise<boolean> {
  const first = net.createServer()
  const second = net.createServer()
  try {
    await listening(first, { port: 0, host: '127.0.0.1', reusePort: true })
    await listening(second, { port: (first.address() as AddressInfo).port, host: '127.0.0.1', reusePort: true })
    return true
  } catch {
    return false
  } finally {
    first.close()
    second.close()
  }
}

async function tryTransfer(): Promise<boolean> {
  const server = net.createServer({ pauseOnConnect: true })
  const { port1, port2 } = new MessageChannel()
  try {
    await listening(server, { port: 0, host: '127.0.0.1' })
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    client.on('error', () => {})
    const [socket] = (await once(server, 'connection')) as [net.Socket]
    try {
      port1.postMessage({ socket }, [socket as never])
      return true
    } catch {
      return false
    } finally {
      socket.destroy()
      client.destroy()
    }
  } catch {
    return false
  } finally {
    server.close()
    port1.close()
    port2.close()
  }
}

async function tryHandOver(): Promise<boolean> {
  const server = net.createServer()
  const { port1, port2 } = new MessageChannel()
  try {
    await listening(server, { port: 0, host: '127.0.0.1' })
    port1.postMessage(server, [server as never])
    const [received] = (await once(port2, 'message')) as [net.Server]
    received.close()
    return true
  } catch {
    return false
  } finally {
    if (server.listening) server.close()
    port1.close()
  }
}

async function listening(server: net.Server, options: net.ListenOptions): Promise<void> {
  server.listen(options)
  await once(server, 'listening')
}
