import type { LineCounter } from 'yaml'

/** Where something stands in a file. Both count from 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** What keeps a document from being read. */
export interface SyntaxFault extends Position {
  readonly message: string
}

/** A configuration file of data, with the position of each option. */
export interface ConfigDocument {
  readonly content: unknown
  /** Mistakes in the syntax. With any, `content` is not complete. */
  readonly faults: readonly SyntaxFault[]
  /** The position of the option with this path (`backends[1].url`): its value, or its name if `ofName`. If it is missing, of what it is missing in. */
  positionOf(path: string, ofName?: boolean): Position
}

/** JSON may have comments, as in `.jsonc`, and a comma after the last element. YAML is 1.2. */
export type Syntax = 'json' | 'yaml'

/** Reads JSON or YAML. Names that are given twice are mistakes. */
export async function readDocument(text: string, syntax: Syntax): Promise<ConfigDocument> {
  // Only the command with such a file needs it.
  const { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } = await import('yaml')
  const lines = new LineCounter()
  // The JSON schema refuses words without quotes.
  const options = { lineCounter: lines, prettyErrors: false, ...(syntax === 'json' && { schema: 'json' as const }) }
  const document = parseDocument(syntax === 'json' ? withoutComments(text) : text, options)
  const faults = [...document.errors, ...document.warnings].map(({ code, message, pos }): SyntaxFault => {
    return { message: WORDING[code] ?? message, ...positionAt(lines, pos[0]) }
  })
  let content: unknown = null
  try {
    content = document.toJS()
  } catch (error) {
    // An alias without an anchor, or one that would expand to millions of nodes.
    faults.push({ message: error instanceof Error ? error.message : String(error), line: 1, column: 1 })
  }

  function positionOf(path: string, ofName = false): Position {
    const keys = keysOf(path)
    let node: unknown = document.contents
    let offset = startOf(node)
    // Down to the deepest node on the way that exists.
    for (const [index, key] of keys.entries()) {
      const container = isAlias(node) ? node.resolve(document) : node
      if (isSeq(container)) {
        node = container.items[Number(key)]
      } else {
        const named = ({ key: name }: { key: unknown }) => isScalar(name) && String(name.value) === key
        const pair = isMap(container) ? container.items.find(named) : undefined
        if (pair === undefined) break
        offset = startOf(pair.key)
        if (ofName && index === keys.length - 1) break
        node = pair.value
      }
      if (!isNode(node)) break
      offset = startOf(node)
    }
    return positionAt(lines, offset)
  }

  function startOf(node: unknown): number {
    return (isNode(node) ? node.range?.[0] : null) ?? 0
  }

  return { content, faults, positionOf }
}

/** Better words for what people meet most. */
const WORDING: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'this name is given twice',
  MULTIPLE_DOCS: 'a configuration file has one document: remove this ---',
  TAB_AS_INDENT: 'YAML is indented by spaces, not by tabs',
}

/** Replaces comments by spaces, so that positions stay. */
function withoutComments(json: string): string {
  return json.replace(/"(?:\\.|[^"\\\n])*"?|\/\/[^\n]*|\/\*.*?\*\//gs, (found) =>
    found.startsWith('"') ? found : found.replace(/[^\n]/g, ' '),
  )
}

/** `groups["a b"].backends[1]` as `['groups', 'a b', 'backends', 1]`. */
export function keysOf(path: string): (string | number)[] {
  const keys = path.matchAll(/\[(\d+)\]|\[("(?:\\.|[^"\\])*")\]|([^.[\]]+)/g)
  return Array.from(keys, ([, index, quoted, name]) =>
    index !== undefined ? Number(index) : quoted !== undefined ? (JSON.parse(quoted) as string) : (name ?? ''),
  )
}

function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset)
  return { line: Math.max(1, line), column: Math.max(1, col) }
}
