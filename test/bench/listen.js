// Not 'heddle': the peers' package.json in this folder ends the scope in which a package may import itself.
import { createProxy } from '../../dist/src/index.js'
import { announce, endWithParent } from './announce.js'
import { backends, isHttp2, isToHttp2, tls } from './arguments.js'
import { ownVersion } from './version.js'

/** A subject that listens by itself, with such options. @returns the proxy. */
export async function listen(options) {
  endWithParent()
  const proxy = createProxy({
    backends: isToHttp2 ? backends.map((url) => ({ url, protocol: 'h2' })) : backends,
    ...options,
  })
  const { port } = await proxy.listen({
    port: 0,
    host: '127.0.0.1',
    tls,
    protocols: isHttp2 ? ['h2', 'http/1.1'] : ['http/1.1'],
  })
  announce({ port, version: ownVersion() })
  return proxy
}
