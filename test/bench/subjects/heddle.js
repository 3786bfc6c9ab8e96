import { createProxy } from '../../../dist/src/index.js'
import { backends } from '../arguments.js'
import { serve } from '../serve.js'
import { ownVersion } from '../version.js'

const proxy = createProxy({ backends })
serve(proxy.web, { version: ownVersion() }, proxy.ws)
