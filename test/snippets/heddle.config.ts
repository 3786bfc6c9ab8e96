import { defineConfig } from 'heddle'

// As fragments.ts: the configuration file of docs/configuration.md.

export default defineConfig({
  listen: '127.0.0.1:8080',
  backends: ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'],
  balancer: { name: 'consistent-hash', by: { cookie: 'session' } },
})
