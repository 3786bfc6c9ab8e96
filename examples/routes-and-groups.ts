// Two groups of backends, and routes by path, host and method between them. The longest match wins.
// Run: npm run build && node dist/examples/routes-and-groups.js
// Try: curl -i http://127.0.0.1:8080/api/users, or with -H 'Host: shop.example.com'
import { createProxy } from 'heddle'
import { mockBackend } from 'heddle/testing'

// In place of your servers. These respond with the method and path of the request.
const api = [await mockBackend(), await mockBackend()]
const pages = await mockBackend({ body: 'a page\n' })

const proxy = createProxy({
  groups: {
    api: { backends: api.map((backend) => backend.url), balancer: 'least-connections', timeouts: { headers: 10_000 } },
    pages: { target: pages.url },
  },
  routes: [
    { path: '/api', group: 'api', stripPrefix: '/api', requestHeaders: { set: { 'X-From': 'heddle' } } },
    { host: '*.example.com', method: ['GET', 'HEAD'], group: 'pages', responseHeaders: { remove: ['Server'] } },
    { path: '/pages', group: 'pages', timeouts: { total: 5_000 } },
    // All other requests get 404.
  ],
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all([...api, pages].map((backend) => backend.close()))
}
process.once('SIGINT', stop).once('SIGTERM', stop)
