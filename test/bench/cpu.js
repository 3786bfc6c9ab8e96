import { readdirSync, readFileSync } from 'node:fs'

/** The tick of utime and stime in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Node runs on. */
const TICK_US = 10_000

/**
 * CPU time in microseconds, user and system, that the process has used in all its threads.
 * schedstat counts nanoseconds per thread; kernels built without it leave the 10 ms ticks of /proc/PID/stat.
 */
export function cpuMicros(pid) {
  return schedstatMicros(pid) ?? statMicros(pid)
}

/** Memory that the process holds now, in bytes. */
export const residentBytes = (pid) => statusBytes(pid, 'VmRSS')

/** The most memory that the process has ever held, in bytes. */
export const peakBytes = (pid) => statusBytes(pid, 'VmHWM')

function statusBytes(pid, field) {
  const line = readFileSync(`/proc/${pid}/status`, 'latin1')
    .split('\n')
    .find((one) => one.startsWith(`${field}:`))
  return Number.parseInt(line.slice(field.length + 1), 10) * 1024
}

/** /proc/PID/schedstat is the first thread alone, and V8 collects garbage in others: so the sum over all tasks. */
function schedstatMicros(pid) {
  try {
    const tasks = `/proc/${pid}/task`
    const nanos = readdirSync(tasks).map((id) =>
      Number.parseInt(readFileSync(`${tasks}/${id}/schedstat`, 'latin1'), 10),
    )
    return nanos.reduce((sum, value) => sum + value, 0) / 1000
  } catch {
    return null
  }
}

function statMicros(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The command's name is in parentheses and may hold spaces: count the fields from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_US
}
