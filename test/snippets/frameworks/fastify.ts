import Fastify from 'fastify'
import { proxyPlugin } from 'heddle/fastify'
import type { Given, Started } from './given.ts'

export async function start({ target, port }: Given): Promise<Started> {
  const app = Fastify()
  app.register(proxyPlugin, { prefix: '/api', target, websocket: true })
  await app.listen({ port })
  return { server: app.server, proxies: [], close: async () => app.close() }
}
