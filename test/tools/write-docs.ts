import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { withOptionTables } from './option-tables.ts'

// Makes the option tables of docs/configuration.md anew: `npm run docs`. test/docs.test.ts checks that it was done.
const file = fileURLToPath(new URL('../../../docs/configuration.md', import.meta.url))
writeFileSync(file, withOptionTables(readFileSync(file, 'utf8')))
