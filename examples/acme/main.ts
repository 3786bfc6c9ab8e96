// https with certificates that are ordered by ACME, kept in a folder, and renewed.
// Run: npm run build && node dist/examples/acme/main.js
// Try: With a machine of yours: PORT=443 NAMES=a.example,www.a.example node dist/examples/acme/main.js, then curl -k https://a.example/
//      As it stands it has no name of its own, and refuses clients: curl -v https://127.0.0.1:8080/
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { consoleLogger, createProxy } from 'heddle'
import { acme } from 'heddle/acme'
import { mockBackend } from 'heddle/testing'

// In place of your backend.
const backend = await mockBackend({ body: 'hello\n' })

const certificates = acme({
  names: (process.env.NAMES ?? 'heddle.test').split(','),
  // Of Let's Encrypt: https://letsencrypt.org/repository/
  agreeToTerms: true,
  // For trials. Without this line, Let's Encrypt itself.
  directory: process.env.DIRECTORY ?? 'letsencrypt-staging',
  // It must outlast a restart; /var/lib/... rather than this.
  folder: join(tmpdir(), 'heddle-example-acme'),
})

const proxy = createProxy({ target: backend.url, logger: consoleLogger({ stream: process.stdout }) })
const { url } = await proxy.listen({
  port: Number(process.env.PORT ?? 8080),
  tls: { certificates: [certificates] },
})
console.log(`listening on ${url}`)
for (const { names, daysLeft, fault } of proxy.stats().tls[0]?.certificates ?? []) {
  console.log(`${names.join(', ')}: ${fault ?? `valid for ${daysLeft} days`}`)
}

async function stop(): Promise<void> {
  await proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
