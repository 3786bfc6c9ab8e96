// What a backend says about its own address, in words that hold for clients; redirects that are followed for them; error pages.
// Run: npm run build && node dist/examples/interceptors-rewrites.js
// Try: curl -i http://127.0.0.1:8080/shop/login, or /shop/cart, /old, /down, /busy; and /down with -H 'Accept: text/html'
import { createProxy, errorPage, followRedirects, rewriteCookies, rewriteLocation } from 'heddle'
import { mockBackend } from 'heddle/testing'

/** The backend says http://127.0.0.1:3000/account; the client gets http://its.host/shop/account. */
const locations = rewriteLocation({ prefix: '/shop' })

/** A cookie for the backend's domain and paths becomes one for the client's. */
const cookies = rewriteCookies({ domain: '', path: { '/': '/shop' }, sameSite: 'lax' })

/** Clients of /old get the page to which it has moved. */
const moved = followRedirects({ max: 3 })

/** The page of failed requests, and of a backend's own 503. */
const pages = errorPage({
  html: '<!doctype html><title>{{status}}</title><h1>{{message}}</h1><p>Please try again. ({{code}}, request {{id}})',
  json: { error: { status: '{{status}}', title: '{{message}}', code: '{{code}}' } },
  text: '{{status}} {{message}}: please try again\n',
  statuses: [503],
})

/** The same in code. */
const pagesInCode = errorPage({
  render: ({ status, message }, exchange) => ({
    status,
    headers: ['Content-Type', 'text/plain; charset=utf-8'],
    body: `${exchange.method} ${exchange.target}: ${message}\n`,
  }),
})

const shop = await mockBackend((request, reply) => {
  if (request.path === '/login') {
    const headers = {
      Location: `${shop.url}/account`,
      'Set-Cookie': 'session=1; Domain=shop.internal; Path=/; HttpOnly',
    }
    reply.send({ status: 303, headers })
  } else if (request.path === '/cart') reply.send({ status: 201, headers: { Location: '/cart/items/1' } })
  else if (request.path === '/old') reply.send({ status: 301, headers: { Location: '/new' } })
  else if (request.path === '/busy') reply.send({ status: 503, body: 'stack trace of the backend\n' })
  else reply.send({ body: `${request.method} ${request.path}\n` })
})
const proxy = createProxy({
  groups: { shop: { target: shop.url }, down: { target: 'http://127.0.0.1:1' } },
  routes: [
    { path: '/shop', stripPrefix: '/shop', group: 'shop', interceptors: [locations, cookies] },
    { path: '/down', group: 'down', interceptors: [pages] },
    { path: '/down/in-code', group: 'down', interceptors: [pagesInCode] },
    { group: 'shop', interceptors: [pages, moved] },
  ],
  logger: 'silent', // the failures of /down are wanted here
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await shop.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
