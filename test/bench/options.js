import { parseArgs } from 'node:util'
import { DEFAULT_SCENARIOS, SCENARIOS } from './scenarios.js'
import { SUBJECTS } from './subjects.js'

const NAMES = Object.keys(SCENARIOS)

/** What holds where neither the scenario nor the command line says otherwise. */
const TIMES = { seconds: 5, warmUpSeconds: 8, rounds: 3, starts: 1 }

export const USAGE = `Usage: npm run bench -- [SCENARIO... | micro | all] [options]
  SCENARIO        ${NAMES.join(', ')}
                  (without one: ${DEFAULT_SCENARIOS.join(', ')}; 'all': all of them with all subjects, and micro)
  micro           our own functions alone: heads, routes, balancers
  --seconds N     how long each measurement takes (${defaults('seconds')})
  --warm-up N     how long each subject is driven before the first one, seconds (${defaults('warmUpSeconds')})
  --rounds N      measurements per subject, in alternation; medians are shown (${defaults('rounds')})
  --starts N      all of that so many times, each with processes of its own (${defaults('starts')})
  --subjects A,B  only these, or 'all' (${SUBJECTS.map(({ file }) => file).join(', ')})
  --write         write tables and chart to docs/benchmarks.md and docs/benchmarks.svg, and all rounds to test/bench/results.json
  --render        write tables and chart again from that file, and measure nothing`

/** The command line as checked values. Throws an Error with one clear line on anything else. */
export function readOptions(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seconds: { type: 'string' },
      'warm-up': { type: 'string' },
      rounds: { type: 'string' },
      starts: { type: 'string' },
      subjects: { type: 'string' },
      write: { type: 'boolean', default: false },
      render: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const isAll = positionals.includes('all')
  const names = positionals.length > 0 ? [...new Set(positionals)] : DEFAULT_SCENARIOS
  for (const name of names) known(name, [...NAMES, 'micro', 'all'], 'scenario')
  return {
    scenarios: isAll ? NAMES : names.filter((name) => name !== 'micro'),
    hasMicro: isAll || names.includes('micro'),
    given: {
      ...(values.seconds !== undefined && { seconds: whole(values.seconds, '--seconds', 120) }),
      ...(values['warm-up'] !== undefined && { warmUpSeconds: whole(values['warm-up'], '--warm-up', 120) }),
      ...(values.rounds !== undefined && { rounds: whole(values.rounds, '--rounds', 50) }),
      ...(values.starts !== undefined && { starts: whole(values.starts, '--starts', 50) }),
    },
    subjects: chosenSubjects(values.subjects ?? (isAll ? 'all' : undefined)),
    isWriting: values.write,
    isRendering: values.render,
    isHelp: values.help,
  }
}

/** How long, and how often, a scenario is measured: what was `given` goes before what the scenario says. */
export function timesOf(name, given) {
  return { ...TIMES, ...SCENARIOS[name].times, ...given }
}

/** The default of one of {@link TIMES}, for the usage. */
function defaults(key) {
  const others = NAMES.filter((name) => SCENARIOS[name].times !== undefined)
  return [TIMES[key], ...others.map((name) => `${name}: ${timesOf(name)[key]}`)].join(', ')
}

function chosenSubjects(list) {
  if (list === undefined) return SUBJECTS.filter(({ isExtra, isSpecial }) => !isExtra && !isSpecial)
  if (list === 'all') return SUBJECTS.filter(({ isSpecial }) => !isSpecial)
  const files = list.split(',')
  const all = SUBJECTS.map(({ file }) => file)
  for (const file of files) known(file, all, 'subject')
  return SUBJECTS.filter(({ file }) => files.includes(file))
}

/** Throws unless `name` is one of `names`. */
export function known(name, names, kind) {
  if (!names.includes(name)) throw new Error(`no ${kind} '${name}'; there are: ${names.join(', ')}`)
}

/** Both ends are bounded, so that a slip of the finger cannot keep a machine busy for a day. */
export function whole(text, name, most) {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new Error(`${name} must be a whole number from 1 to ${most}, not '${text}'`)
}
