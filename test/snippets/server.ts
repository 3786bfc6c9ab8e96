import http from 'node:http'
import { type Balancer, createProxy } from 'heddle'

// As fragments.ts: a module for `serveModule()`, of docs/threads.md.

declare const app: http.RequestListener
declare const backends: string[]
declare const myBalancer: Balancer

// server.js: the default export is a node:http server that does not listen yet, or a function that returns one
const proxy = createProxy({ name: 'api', backends, balancer: myBalancer })
export default http.createServer(app).on('upgrade', proxy.ws)
