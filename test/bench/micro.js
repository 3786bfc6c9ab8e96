import { startChild } from './children.js'
import { CASES } from './micro/cases.js'
import { grid } from './table.js'

const TIMEOUT_MS = 60_000

/** Times every case, each in a process of its own. Resolves to `{ name, ns, spread }` of each. */
export async function measureMicro(signal) {
  const rows = []
  for (const name of Object.keys(CASES)) {
    const child = await startChild('./micro/time.js', [name], { timeoutMs: TIMEOUT_MS, signal })
    await child.stop()
    rows.push({ name, ns: child.ns, spread: child.spread })
  }
  return rows
}

export function microTable(rows) {
  const lines = rows.map(({ name, ns, spread }) => [
    name,
    `${ns.toFixed(ns < 100 ? 1 : 0)} ns`,
    `${(spread * 100).toFixed(0)} %`,
  ])
  return grid([['', 'each', 'spread'], ...lines], 1)
}
