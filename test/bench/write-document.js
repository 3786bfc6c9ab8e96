import { writeFileSync } from 'node:fs'
import { chart } from './chart.js'
import { document } from './document.js'
import { FIGURES } from './figures.js'
import { SCENARIOS } from './scenarios.js'

const FOLDER = new URL('../../docs/', import.meta.url)

/** Writes docs/benchmarks.md and its chart from a record of results.js. */
export function writeDocument(record) {
  const { results } = record
  if (results.length > 0) writeFileSync(new URL('benchmarks.svg', FOLDER), chart(results.map(panelOf)))
  writeFileSync(new URL('benchmarks.md', FOLDER), document(record))
  console.log('Written to docs/benchmarks.md\n')
}

function panelOf({ name, rows }) {
  const { figure, unit, title } = SCENARIOS[name]
  const { head, text } = FIGURES[figure]
  const bars = rows
    .filter(({ failure }) => failure === null)
    .map(({ subject, cost }) => ({
      label: subject.title.replaceAll('`', ''),
      value: cost,
      text: text(cost),
      isOurs: subject.isOurs === true,
    }))
  return { title: `${name}: ${head(unit)}. ${title}`, bars }
}
