import { CODE_LENGTHS, EOS } from './tables.ts'

/** A node of the code's tree: a symbol, or two branches. */
interface Node {
  id: number
  readonly branches: [Node?, Node?]
  symbol: number
  /** A string may end here: the bits since the last symbol are at most seven, all of them ones. */
  mayEnd: boolean
}

const EMITS = 1 << 8
const MAY_END = 2 << 8
const FAULT = 4 << 8

/**
 * An automaton that reads four bits at a time. Its entry for a state and four bits is `next state << 16 | flags | symbol`: no four bits
 * hold more than one symbol, since the shortest code has five.
 */
const AUTOMATON = buildAutomaton()

function buildAutomaton(): Uint32Array {
  const nodes = buildTree()
  const table = new Uint32Array(nodes.length * 16)
  const root = nodes[0] as Node
  for (const node of nodes) {
    for (let bits = 0; bits < 16; bits++) table[node.id * 16 + bits] = step(root, node, bits)
  }
  return table
}

/** The inner nodes, the root first. */
function buildTree(): Node[] {
  const nodes: Node[] = []
  const add = (): Node => {
    const node: Node = { id: nodes.length, branches: [], symbol: -1, mayEnd: false }
    nodes.push(node)
    return node
  }
  const root = add()
  const bySymbol = CODE_LENGTHS.map((length, symbol) => ({ length, symbol }))
  bySymbol.sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  let code = 0
  let before = 0
  for (const { length, symbol } of bySymbol) {
    code *= 2 ** (length - before)
    before = length
    let node = root
    for (let bit = length - 1; bit > 0; bit--) node = node.branches[branchOf(code, bit)] ??= add()
    node.branches[branchOf(code, 0)] = { id: -1, branches: [], symbol, mayEnd: false }
    code++
  }
  let padding: Node | undefined = root
  for (let ones = 0; ones < 8 && padding !== undefined; ones++) {
    padding.mayEnd = true
    padding = padding.branches[1]
  }
  return nodes
}

function branchOf(code: number, bit: number): 0 | 1 {
  return ((code >>> bit) & 1) as 0 | 1
}

function step(root: Node, from: Node, bits: number): number {
  let node = from
  let emitted = 0
  for (let bit = 3; bit >= 0; bit--) {
    const next = node.branches[branchOf(bits, bit)]
    if (next === undefined || next.symbol === EOS) return FAULT
    if (next.symbol >= 0) emitted = EMITS | next.symbol
    node = next.symbol >= 0 ? root : next
  }
  return (node.id << 16) | emitted | (node.mayEnd ? MAY_END : 0)
}

/** Holds one decoded string. */
let scratch = Buffer.allocUnsafeSlow(4096)

/**
 * Decodes a string (RFC 7541 section 5.2).
 * @returns the bytes as latin1; `null` if they are not of this code, hold an end of string, or are padded with more than seven bits or with
 * others than ones.
 */
export function decodeHuffman(bytes: Buffer, from: number, to: number): string | null {
  // The shortest code has five bits.
  const most = Math.ceil(((to - from) * 8) / 5)
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most)
  let state = 0
  let length = 0
  let entry = MAY_END
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number
    entry = AUTOMATON[(state << 4) | (byte >> 4)] as number
    if ((entry & FAULT) !== 0) return null
    if ((entry & EMITS) !== 0) scratch[length++] = entry & 255
    entry = AUTOMATON[((entry >>> 16) << 4) | (byte & 15)] as number
    if ((entry & FAULT) !== 0) return null
    if ((entry & EMITS) !== 0) scratch[length++] = entry & 255
    state = entry >>> 16
  }
  return (entry & MAY_END) === 0 ? null : scratch.toString('latin1', 0, length)
}
