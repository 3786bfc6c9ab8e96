import { styleText } from 'node:util'
import type { BackendStatus, ExchangeRecord, Proxy } from '../index.ts'

/** A backend, as the table shows it. */
export interface BackendRow {
  readonly id: string
  readonly status: BackendStatus
  readonly pending: number
  /** Attempts. */
  requests: number
  /** Attempts that failed; the client may have got the response of another backend. */
  failures: number
  /** Mean of the last responses, weighted towards the newest; `null` before the first one. */
  latencyMs: number | null
}

/** How much the newest response counts in {@link BackendRow.latencyMs}. */
const NEWEST = 0.2

/** Counts what happens at each backend of a proxy. */
export function watchBackends(proxy: Proxy): () => BackendRow[] {
  const counts = new Map<string, Pick<BackendRow, 'requests' | 'failures' | 'latencyMs'>>()
  const of = (id: string) => {
    const found = counts.get(id) ?? { requests: 0, failures: 0, latencyMs: null }
    counts.set(id, found)
    return found
  }
  proxy
    .on('attempt', (_, { id }) => {
      of(id).requests += 1
    })
    .on('retry', (_, { backend }) => {
      if (backend !== null) of(backend.id).failures += 1
    })
    .on('finish', (_, { backend, errorCode, backendMs, attempts }: ExchangeRecord) => {
      if (backend === null) return
      const count = of(backend)
      if (errorCode !== null) count.failures += 1
      // The time of a retry is not that of this backend alone.
      else if (attempts === 1) count.latencyMs = (count.latencyMs ?? backendMs) * (1 - NEWEST) + backendMs * NEWEST
    })
  return () =>
    proxy
      .stats()
      .groups.flatMap(({ backends }) => backends)
      .map(({ id, status, pending }) => ({ id, status, pending, ...of(id) }))
}

const COLUMNS: readonly { readonly title: string; readonly width: number; cell(row: BackendRow): string }[] = [
  { title: 'backend', width: -10, cell: ({ id }) => id },
  { title: 'status', width: -10, cell: ({ status }) => status },
  { title: 'pending', width: 8, cell: ({ pending }) => String(pending) },
  { title: 'requests', width: 9, cell: ({ requests }) => String(requests) },
  { title: 'failures', width: 9, cell: ({ failures }) => String(failures) },
  { title: 'latency', width: 9, cell: ({ latencyMs }) => (latencyMs === null ? '-' : `${Math.round(latencyMs)} ms`) },
]

const GAP = '  '

/** The table as lines of at most `width` columns; in a narrow terminal the last columns are left out. */
export function tableLines(rows: readonly BackendRow[], width: number, hasColors: boolean): string[] {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    hasColors ? styleText(style, text, { validateStream: false }) : text
  let room = width - 1
  const shown = COLUMNS.filter((column) => {
    room -= Math.abs(column.width) + GAP.length
    return room + GAP.length >= 0
  })
  const line = (cellOf: (column: (typeof COLUMNS)[number]) => string): string =>
    shown.map((column) => cellOf(column)).join(GAP)
  const padded = (text: string, width: number): string => (width < 0 ? text.padEnd(-width) : text.padStart(width))
  return [
    '',
    line(({ title, width: cells }) => paint('bold', padded(title, cells))),
    ...rows.map((row) =>
      line(({ title, width: cells, cell }) => {
        const text = padded(cell(row), cells)
        if (title === 'status') return paint(row.status === 'available' ? 'green' : 'red', text)
        return title === 'failures' && row.failures > 0 ? paint('yellow', text) : text
      }),
    ),
  ]
}
