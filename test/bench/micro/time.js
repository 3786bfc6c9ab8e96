import { announce, endWithParent } from '../announce.js'
import { median } from '../median.js'
import { CASES } from './cases.js'

// One case in a process of its own, so that what other cases have taught V8 does not count: node test/bench/micro/time.js CASE.

const WARM_UP_MS = 500
const ROUND_MS = 100
const ROUNDS = 9

endWithParent()
const work = CASES[process.argv[2]]()
/** Keeps V8 from leaving out what nobody looks at. */
let kept = null

let done = 0
const begun = performance.now()
for (let count = 1; performance.now() - begun < WARM_UP_MS; count = Math.min(count * 2, 100_000)) done += run(count)
const perRound = Math.max(1, Math.round((done * ROUND_MS) / (performance.now() - begun)))

const nanos = []
for (let round = 0; round < ROUNDS; round++) {
  const start = performance.now()
  run(perRound)
  nanos.push(((performance.now() - start) * 1e6) / perRound)
}
announce({
  ns: median(nanos),
  spread: (Math.max(...nanos) - Math.min(...nanos)) / median(nanos),
  isKept: kept !== null,
})

function run(count) {
  for (let index = 0; index < count; index++) kept = work(index)
  return count
}
