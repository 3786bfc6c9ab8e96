/**
 * Self time per function in microseconds, from a .cpuprofile, most first. Samples before `fromUs` (on the profile's own
 * clock, which is the monotonic one) are left out; so is the time in which nothing ran.
 */
export function selfTimes({ nodes, samples, timeDeltas, startTime }, fromUs = 0) {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const totals = new Map()
  let clock = startTime
  samples.forEach((id, index) => {
    // A delta is the time since the sample before: what this sample saw lasted until the next.
    clock += timeDeltas[index]
    const frame = frames.get(id)
    if (clock < fromUs || frame.functionName === '(idle)') return
    const key = `${frame.functionName} ${frame.url}:${frame.lineNumber}`
    const total = totals.get(key) ?? { name: frame.functionName || '(anonymous)', place: placeOf(frame), selfUs: 0 }
    total.selfUs += timeDeltas[index + 1] ?? 0
    totals.set(key, total)
  })
  return [...totals.values()].sort((a, b) => b.selfUs - a.selfUs)
}

/** The same per module: `dist/src/...`, `node:...`, or what is no JavaScript at all. */
export function selfTimesByModule(functions) {
  const totals = new Map()
  for (const { name, place, selfUs } of functions) {
    const module = place === '' ? name : place.replace(/:\d+$/, '')
    totals.set(module, (totals.get(module) ?? 0) + selfUs)
  }
  return [...totals].map(([name, selfUs]) => ({ name, place: '', selfUs })).sort((a, b) => b.selfUs - a.selfUs)
}

/** `dist/src/fronts/node-front.js:12`; empty for what V8 counts without a place: (program), (garbage collector). */
function placeOf({ url, lineNumber }) {
  if (url === '') return ''
  const path = url.replace(/^file:\/\//, '').replace(`${process.cwd()}/`, '')
  return `${path}:${lineNumber + 1}`
}
