import { median } from './median.js'
import { YARDSTICK } from './subjects.js'

const HEAD = ['', 'version', 'CPU per request', 'ratio', 'spread', 'requests/s', 'p50', 'p99', 'memory', 'errors']

/** The rows of one scenario as a markdown table with aligned columns: it reads well on a terminal too. */
export function table(rows, yardstick = YARDSTICK) {
  const base = rows.find(({ subject, failure }) => subject.file === yardstick && failure === null)
  const cells = [HEAD, ...rows.map((row) => cellsOf(row, base))]
  const widths = HEAD.map((_, column) => Math.max(...cells.map((line) => line[column].length)))
  const lines = cells.map((line) => join(line.map((cell, column) => pad(cell, widths[column], column))))
  const rule = join(widths.map((width, column) => (column < 2 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)))
  return [lines[0], rule, ...lines.slice(1), ...failuresIn(rows)].join('\n')
}

function cellsOf({ subject, version, failure, ...row }, base) {
  if (failure !== null) return [subject.title, version, ...Array(7).fill('-'), 'failed']
  return [
    subject.title,
    version,
    `${row.cpuUs.toFixed(row.cpuUs < 100 ? 1 : 0)} us`,
    base === undefined ? '-' : ratio(row, base).toFixed(2),
    `${(spread(row.cpuUsOfRounds) * 100).toFixed(0)} %`,
    Math.round(row.perSecond).toLocaleString('en-US'),
    `${(row.p50Us / 1000).toFixed(2)} ms`,
    `${(row.p99Us / 1000).toFixed(2)} ms`,
    `${Math.round(row.residentBytes / 2 ** 20)} MiB`,
    errorsIn(row.errors),
  ]
}

/** Of neighbours in time, then the median: a round in which the machine was slow for everybody does not count. */
function ratio(row, base) {
  return median(row.cpuUsOfRounds.map((cpuUs, round) => cpuUs / base.cpuUsOfRounds[round]))
}

const spread = (values) => (Math.max(...values) - Math.min(...values)) / median(values)

/** Below the table: a reason is long, and would make every line as long. */
function failuresIn(rows) {
  return rows.filter(({ failure }) => failure !== null).map((row) => `\n${row.subject.title} failed: ${row.failure}`)
}

function errorsIn(errors) {
  const kinds = Object.entries(errors).map(([kind, count]) => `${count} ${kind}`)
  return kinds.length > 0 ? kinds.join(', ') : 'none'
}

const join = (cells) => `| ${cells.join(' | ')} |`
const pad = (cell, width, column) => (column < 2 ? cell.padEnd(width) : cell.padStart(width))
