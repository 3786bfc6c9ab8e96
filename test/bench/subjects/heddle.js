import { readFileSync } from 'node:fs'
// Not 'heddle': the peers' package.json in this folder's parent ends the scope in which a package may import itself.
import { createProxy } from '../../../dist/src/index.js'
import { backends, serve } from '../serve.js'

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
const proxy = createProxy({ backends })
serve(proxy.web, { version })
