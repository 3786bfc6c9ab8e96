import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from './script.ts'

/** A fenced block of code in a document. */
export interface Block {
  /** File and line, for messages: `docs/recipes.md:12`. */
  readonly where: string
  /** The document, from the package's root. */
  readonly file: string
  /** The nearest heading above it; empty if there is none. */
  readonly section: string
  /** After the opening fence: `js`, `ts`, `json` ...; empty for none. */
  readonly language: string
  readonly text: string
  /** Text of an HTML comment on the line before the fence (an empty line may lie between), such as `test`; empty for none. */
  readonly comment: string
}

/** The documents with code that users read: README.md, CONTRIBUTING.md, SECURITY.md and those of docs, without the decisions. */
export function documents(): string[] {
  const docs = readdirSync(join(PACKAGE_ROOT, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...docs.map((name) => `docs/${name}`)]
}

/** The blocks of a document, in order. */
export function blocksOf(file: string): Block[] {
  const blocks: Block[] = []
  const lines = readFileSync(join(PACKAGE_ROOT, file), 'utf8').split('\n')
  let section = ''
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? ''
    if (/^#+ /.test(line)) section = line.replace(/^#+ /, '')
    const [, language] = /^```(\S*)/.exec(line) ?? []
    if (language === undefined) continue
    const end = lines.indexOf('```', index + 1)
    if (end < 0) throw new Error(`${file}:${index + 1}: the block has no end`)
    const above = lines[index - 1] === '' ? lines[index - 2] : lines[index - 1]
    const comment = /^<!-- (.*) -->$/.exec(above ?? '')?.[1] ?? ''
    const text = lines.slice(index + 1, end).map((one) => `${one}\n`)
    blocks.push({ where: `${file}:${index + 1}`, file, section, language, text: text.join(''), comment })
    index = end
  }
  return blocks
}

/** Whether `text` has the block's lines, one after another and whole, whatever their indentation. */
export function hasLines(text: string, block: string): boolean {
  const plain = (lines: string): string => `\n${lines.replace(/^[ \t]+/gm, '')}`
  return plain(text).includes(plain(block))
}
