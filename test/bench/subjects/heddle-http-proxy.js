import { createProxyServer } from '../../../dist/src/compat/http-proxy/index.js'
import { ownVersion } from '../version.js'
import { serveWithListeners } from '../with-listeners.js'

serveWithListeners(createProxyServer(), { version: ownVersion() })
