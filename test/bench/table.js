import { FIGURES } from './figures.js'
import { median } from './median.js'

/** Whose figures the sentence is about: our own server, on one thread; where threads are compared, on two. */
const VERDICT_OF = ['heddle-listen', 'heddle-2-threads']

/** The rows of one scenario as a markdown table, and below it why subjects failed. `yardsticks`: whom the ratios are to. */
export function table(rows, scenario, yardsticks) {
  const bases = yardsticks.map((file) => rows.find((row) => row.subject.file === file && row.failure === null))
  const columns = columnsOf(scenario, bases.filter(Boolean))
  const lines = rows.map((row) => [
    row.subject.title,
    row.version,
    ...columns.map(({ cell }) => (row.failure === null ? cell(row) : '-')),
    row.failure === null ? errorsIn(row.errors) : 'failed',
  ])
  return [grid([['', 'version', ...columns.map(({ head }) => head), 'errors'], ...lines]), ...failuresIn(rows)].join(
    '\n',
  )
}

/** Lines of cells as a markdown table with aligned columns: it reads well on a terminal too. The first line is the head. */
export function grid(lines, textColumns = 2) {
  const pad = (cell, width, column) => (column < textColumns ? cell.padEnd(width) : cell.padStart(width))
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const [head, ...rest] = lines.map((line) => join(line.map((cell, column) => pad(cell, widths[column], column))))
  const rule = widths.map((width, column) => (column < textColumns ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [head, join(rule), ...rest].join('\n')
}

/** The scenario's figure, its ratios and its spread, and then what else there is to it. */
function columnsOf({ figure, unit }, bases) {
  const { head, text } = FIGURES[figure]
  return [
    { head: head(unit), cell: (row) => text(row.cost) },
    ...bases.map((base) => ({
      head: `to ${base.subject.file}`,
      cell: (row) => (row === base ? '1' : ratioText(row, base)),
    })),
    { head: 'spread', cell: (row) => `${(spread(row.costOfRounds) * 100).toFixed(0)} %` },
    ...(figure === 'cpu' ? TIME_COLUMNS(unit) : []),
    { head: 'peak memory', cell: (row) => `${Math.round(row.peakBytes / 2 ** 20)} MiB` },
  ]
}

const TIME_COLUMNS = (unit) => [
  { head: `${unit}s/s`, cell: (row) => Math.round(row.perSecond).toLocaleString('en-US') },
  { head: 'p50', cell: (row) => millis(row.p50Us) },
  { head: 'p99', cell: (row) => millis(row.p99Us) },
  { head: 'p99.9', cell: (row) => millis(row.p999Us) },
]

/** What our own server costs next to each yardstick, in one sentence; empty if one of them was not measured. */
export function verdict(rows, { figure, unit }, yardsticks) {
  const ours = rows.find(({ subject, failure }) => VERDICT_OF.includes(subject.file) && failure === null)
  const bases = yardsticks.map((file) => rows.find((row) => row.subject.file === file && row.failure === null))
  const compared = bases.filter((base) => base !== undefined && base !== ours)
  if (ours === undefined || compared.length === 0) return ''
  const parts = compared.map((base) => {
    const { middle, low, high } = ratio(ours, base)
    const range = `${low.toFixed(2)} to ${high.toFixed(2)}`
    const peer = base.subject.title.replace(/ with .*/, '')
    return isNoise({ low, high })
      ? `as much as ${peer}, within the noise (${range})`
      : `${middle.toFixed(2)} times that of ${peer} (${range})`
  })
  return `${upperFirst(FIGURES[figure].head(unit))} of ${ours.subject.title}: ${parts.join('; ')}.`
}

const upperFirst = (text) => text[0].toUpperCase() + text.slice(1)

/** Of neighbours in time, and then the median: a round in which the machine was slow for everybody does not count. */
function ratio(row, base) {
  const ofRounds = row.costOfRounds.map((cost, round) => cost / base.costOfRounds[round])
  return { middle: median(ofRounds), low: Math.min(...ofRounds), high: Math.max(...ofRounds) }
}

/** Which of the two costs more differed from round to round. */
const isNoise = ({ low, high }) => low <= 1 && high >= 1

function ratioText(row, base) {
  const found = ratio(row, base)
  const [middle, low, high] = [found.middle, found.low, found.high].map((value) => value.toFixed(2))
  return `${isNoise(found) ? '~ ' : ''}${middle} (${low}-${high})`
}

const spread = (values) => (Math.max(...values) - Math.min(...values)) / median(values)
const millis = (us) => `${(us / 1000).toFixed(2)} ms`

/** Below the table: a reason is long, and would make every line as long. */
function failuresIn(rows) {
  return rows.filter(({ failure }) => failure !== null).map((row) => `\n${row.subject.title} failed: ${row.failure}`)
}

function errorsIn(errors) {
  const kinds = Object.entries(errors).map(([kind, count]) => `${count} ${kind}`)
  return kinds.length > 0 ? kinds.join(', ') : 'none'
}

const join = (cells) => `| ${cells.join(' | ')} |`
