// The code blocks of the documents, compiled against the installed package, and run where they are marked.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folderWith, node, ROOT, write } from './scratch.js'

/**
 * Not mistakes of a block but of its being an excerpt: names and files that it does not show, modules that are not installed, two
 * files in one block, names that are not used, and code that takes its types from what is not shown.
 */
const EXCERPT = new Set([2304, 2307, 2451, 2300, 2528, 2552, 18004, 7006, 7005, 7034, 7031, 2440, 2395, 1259])

/** What everybody writes in JavaScript: the address of a server that listens on a port. */
const LOOSE = /'string \| AddressInfo'|^Object is possibly 'null'/

/** Every `js` and `ts` block of README.md and docs/*.md that imports heddle, with the place where it begins. */
function blocks() {
  const documents = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)]
  return documents
    .filter((name) => name.endsWith('.md'))
    .flatMap((name) => {
      const text = readFileSync(join(ROOT, name), 'utf8')
      return Array.from(text.matchAll(/^(<!-- [^\n]*-->\n+)?^```(js|ts)\n(.+?)^```$/gms), (found) => {
        const line = text.slice(0, found.index + (found[1]?.length ?? 0)).split('\n').length
        return { name: `${name}:${line}`, mark: found[1]?.trim(), kind: found[2], script: found[3] }
      })
    })
}

/** Those that are marked with `<!-- test -->`: programs that say where they listen, and respond to a GET with 200. */
export function runnableBlocks() {
  return blocks().filter(({ mark }) => mark === '<!-- test -->')
}

/** Compiles the blocks. @throws Error with the place of each block that does not, and what the compiler says. */
export async function checkBlocks(project) {
  const folder = folderWith(project, [])
  const found = blocks().filter(({ script }) => /from 'heddle/.test(script))
  const byFile = new Map(found.map((block, index) => [`block-${index}.m${block.kind}`, block]))
  for (const [file, { script }] of byFile) write(join(folder, file), script)
  const options = ['--noEmit', '--allowJs', '--checkJs', '--module', 'nodenext', '--target', 'esnext']
  const compile = [
    join(project, 'node_modules/typescript7/bin/tsc'),
    '--pretty',
    'false',
    ...options,
    '--types',
    'node',
  ]
  const output = await node(folder, ...compile, ...byFile.keys()).catch((error) => error.message)
  const faults = Array.from(output.matchAll(/^(block-\d+\.m[jt]s)\((\d+),\d+\): error TS(\d+): (.*)$/gm), (match) => {
    const [, file, line, code, message] = match
    return { file, line: Number(line), code: Number(code), message }
  }).filter(({ code, message }) => !EXCERPT.has(code) && !LOOSE.test(message))
  if (faults.length > 0) {
    const lines = faults.map(({ file, line, code, message }) => {
      const { name, script } = byFile.get(file)
      return `${name}, line ${line} of the block: TS${code}: ${message}\n    ${script.split('\n')[line - 1]}`
    })
    throw new Error(`${found.length} blocks, of which these do not compile:\n${lines.join('\n')}`)
  }
  if (found.length === 0) throw new Error('no block imports heddle')
}
