// https for two names on one port: each has its certificate and its backends. A certificate is replaced while the proxy runs.
// Run: npm run build && node dist/examples/https-two-names/main.js
// Try: curl -k --resolve shop.localhost:8080:127.0.0.1 https://shop.localhost:8080/
//      kill -HUP PID (a renewed certificate, from then on)
import { createProxy } from 'heddle'
import { mockBackend } from 'heddle/testing'
import { blog, shop } from './certificates.ts'

// In place of your backends.
const backends = {
  shop: await mockBackend({ body: 'the shop\n' }),
  blog: await mockBackend({ body: 'the blog\n' }),
}

const proxy = createProxy({
  groups: { shop: { target: backends.shop.url }, blog: { target: backends.blog.url } },
  routes: [
    { host: 'shop.localhost', group: 'shop' },
    { host: 'blog.localhost', group: 'blog' },
  ],
})

const { url } = await proxy.listen({
  port: Number(process.env.PORT ?? 8080),
  host: '127.0.0.1',
  tls: {
    // PEM here, to run as it stands. With paths, { cert: 'shop.pem', key: 'shop-key.pem' }, files that have changed are used by themselves.
    certificates: [shop, blog],
    minVersion: 'TLSv1.2',
  },
})
console.log(`listening on ${url}`)
for (const { names, daysLeft } of proxy.stats().tls[0]?.certificates ?? []) {
  console.log(`the certificate of ${names.join(', ')} is valid for ${daysLeft} days`)
}

// Where certificates come from a store of your own. Open connections and sessions go on.
process.on('SIGHUP', () => {
  proxy.replaceCertificate(shop).catch(console.error)
})

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all(Object.values(backends).map((backend) => backend.close()))
}
process.once('SIGINT', stop).once('SIGTERM', stop)
