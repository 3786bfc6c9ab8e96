// Guards stand between a route and its backends, and decide which requests pass.
// Run: npm run build && node dist/examples/interceptors-guards.js
// Try: curl -i http://127.0.0.1:8080/shop -H 'Cookie: sid=1', or /office, /api with the token that is printed, /wiki -H 'Cookie: sid=1'
import { addresses, cors, createProxy, forwardAuth, requestHook } from 'heddle'
import { jwt } from 'heddle/jwt'
import { mockBackend } from 'heddle/testing'
import { SignJWT } from 'jose'

const SECRET = 'a secret of at least thirty-two bytes'

/** A service that knows who is who: 200 with the name, or 401. */
const auth = await mockBackend((request, reply) => {
  if (request.header('cookie') === 'sid=1') reply.send({ headers: ['Remote-User', 'alice'] })
  else reply.send({ status: 302, headers: ['Location', 'https://login.example/'] })
})

const session = requestHook(async (request) => {
  const user = await findUser(request.headers.get('cookie'))
  if (user === undefined) return new Response('log in first\n', { status: 401 })
  request.headers.set('X-User', user)
  if (user === 'alice') request.group = 'beta'
  return undefined
})

const office = addresses({ allow: ['loopback', '10.0.0.0/8'], deny: ['10.0.66.0/24'] })

const sso = forwardAuth({
  url: `${auth.url}/verify`,
  requestHeaders: ['Remote-User', 'Remote-Groups'],
  responseHeaders: ['Set-Cookie'],
  cacheMs: 5000,
})

const browsers = cors({
  origins: ['https://app.example'],
  headers: ['Authorization', 'Content-Type'],
  credentials: true,
})

const tokens = jwt({
  issuer: 'https://issuer.example',
  audience: 'https://api.example',
  secret: SECRET, // or jwksUrl: 'https://issuer.example/.well-known/jwks.json'
  claimsToHeaders: { sub: 'X-User', scope: 'X-Scope' },
})

/** Stands for a store of sessions. */
async function findUser(cookie: string | undefined): Promise<string | undefined> {
  return new Map([
    ['sid=1', 'alice'],
    ['sid=2', 'bob'],
  ]).get(cookie ?? '')
}

const backend = await mockBackend((request, reply) => {
  reply.send({ body: `hello ${request.header('x-user') ?? request.header('remote-user') ?? 'stranger'}\n` })
})
const beta = await mockBackend({ body: 'hello, this is new\n' })
const proxy = createProxy({
  groups: { app: { target: backend.url }, beta: { target: beta.url } },
  routes: [
    { path: '/shop', group: 'app', interceptors: [session] },
    { path: '/office', group: 'app', interceptors: [office] },
    { path: '/wiki', group: 'app', interceptors: [sso] },
    // The browser's question comes without a token: cors() has to be the first.
    { path: '/api', group: 'app', interceptors: [browsers, tokens] },
  ],
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
const token = await new SignJWT({ sub: 'carol', scope: 'read' })
  .setProtectedHeader({ alg: 'HS256' })
  .setIssuer('https://issuer.example')
  .setAudience('https://api.example')
  .setExpirationTime('1h')
  .sign(new TextEncoder().encode(SECRET))
console.log(`listening on ${url}`)
console.log(`curl -i ${url}/api -H 'Authorization: Bearer ${token}'`)

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all([auth, backend, beta].map((one) => one.close()))
}
process.once('SIGINT', stop).once('SIGTERM', stop)
