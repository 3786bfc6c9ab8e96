import type http from 'node:http'
import net from 'node:net'

/** How long connections that carry nothing are left alone, ms: a request may be on its way. */
const IDLE_MS = 500
const LOOK_MS = 20

/**
 * Stops listening and lets the connections of a server end by themselves: each answer says that its connection ends.
 * Unlike `server.close()` it does not close idle connections at once, under a request that is on its way.
 * @param drainMs after this time what is left is destroyed.
 * @param connections how many are open; node counts only those that it has accepted itself.
 */
export async function retireServer(server: http.Server, drainMs: number, connections: () => number): Promise<void> {
  server.prependListener('request', (_req, res: http.ServerResponse) => {
    res.shouldKeepAlive = false
  })
  // node:http's own `close()` would close idle connections.
  if (server.listening) net.Server.prototype.close.call(server)
  const begin = performance.now()
  let hasClosedIdle = false
  while (connections() > 0) {
    const passed = performance.now() - begin
    if (passed >= drainMs) break
    if (passed >= IDLE_MS && !hasClosedIdle) {
      hasClosedIdle = true
      server.closeIdleConnections()
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  server.closeAllConnections()
}
