import { writeFileSync } from 'node:fs'
import { chart } from './chart.js'
import { document } from './document.js'
import { FIGURES } from './figures.js'
import { SCENARIOS } from './scenarios.js'

const FOLDER = new URL('../../docs/', import.meta.url)

/** Writes docs/benchmarks.md and its chart. `results` are `{ name, rows, backend }`, one for each scenario; `micro` see micro.js. */
export function writeDocument(results, micro) {
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
  if (results.length > 0) writeFileSync(new URL('benchmarks.svg', FOLDER), chart(results.map(panelOf)))
  writeFileSync(new URL('benchmarks.md', FOLDER), document(results, micro, { command, date: new Date() }))
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
