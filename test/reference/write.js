import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { install } from '../tools/install.js'

// npm run docs:reference: every export with its types and comments, as HTML in reference/. Warnings, such as of a type that is used and
// not exported, make it fail.

const FOLDER = new URL('.', import.meta.url)
const path = (name) => fileURLToPath(new URL(name, FOLDER))

install(FOLDER)
const typedoc = path('node_modules/typedoc/bin/typedoc')
const { status } = spawnSync(process.execPath, [typedoc, '--options', path('typedoc.json')], { stdio: 'inherit' })
process.exitCode = status ?? 1
