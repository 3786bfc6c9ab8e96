import type { Server } from 'node:http'
import { proxyPlugin } from 'heddle/vite'
import { createServer, defineConfig } from 'vite'
import type { Given, Started } from './given.ts'

export async function start({ target, port, root }: Given): Promise<Started> {
  const config = defineConfig({
    plugins: [proxyPlugin({ target, routes: [{ path: '/api', stripPrefix: '/api' }] })],
  })
  const vite = await createServer({
    ...config,
    root,
    configFile: false,
    logLevel: 'silent',
    server: { port, watch: null },
    optimizeDeps: { noDiscovery: true },
  })
  await vite.listen()
  return { server: vite.httpServer as Server, proxies: [], close: () => vite.close() }
}
