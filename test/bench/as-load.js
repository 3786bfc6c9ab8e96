import { findTool } from './tools.js'

const chrt = findTool('chrt')

/**
 * The command line of a program that makes the load, or is behind the proxy: with Linux's SCHED_BATCH, where `chrt` is there
 * to set it (util-linux), so that it does not interrupt whom it is to measure each time that it wakes. On two cores such
 * interruptions were a fifth of a proxy's CPU time, and more the more threads it had.
 */
export function asLoad(program, args) {
  return chrt === null ? [program, args] : [chrt, ['--batch', '0', program, ...args]]
}
