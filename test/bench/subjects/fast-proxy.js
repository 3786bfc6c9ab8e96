import createFastProxy from 'fast-proxy'
import { backends } from '../arguments.js'
import { inTurn, serve } from '../serve.js'
import { versionOf } from '../version.js'

// With undici, which its README names as the faster way; one instance per backend, as its pool has one origin.
const nextProxy = inTurn(backends.map((base) => createFastProxy({ base, undici: true })))
serve((req, res) => nextProxy().proxy(req, res, req.url, {}), { version: versionOf('fast-proxy') })
