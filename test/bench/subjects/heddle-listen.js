import { readFileSync } from 'node:fs'
import { createProxy } from '../../../dist/src/index.js'
import { announce, endWithParent } from '../announce.js'
import { backends } from '../serve.js'

endWithParent()
const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
const proxy = createProxy({ backends })
const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
announce({ port, version })
