import { once } from 'node:events'
import net from 'node:net'

/**
 * A free port for a program that has to be told one. It lies below those that the system gives out itself (`net.ipv4.ip_local_port_range`),
 * so that nothing else takes it before the program listens.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000)
    const server = net.createServer()
    const found = once(server, 'listening').then(
      () => true,
      () => false,
    )
    server.listen(port, '::')
    const isFree = await found
    server.close()
    if (isFree) return port
  }
}
