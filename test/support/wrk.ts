import { spawn, spawnSync } from 'node:child_process'

/** `skip` option of tests that need wrk; CI installs it. */
export const withoutWrk = spawnSync('wrk', ['--version']).error === undefined ? false : 'wrk is not installed'

/** What wrk says of a run. */
export interface WrkResult {
  readonly requests: number
  /** Answers other than 2xx and 3xx, and errors of sockets, timeouts included. */
  readonly failures: number
  readonly text: string
}

/** GETs `url` over `connections` connections for `seconds`. */
export function wrk(url: string, { connections = 64, seconds = 2 } = {}): Promise<WrkResult> {
  return new Promise((resolve, reject) => {
    const child = spawn('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url])
    let text = ''
    child.stdout.on('data', (bytes) => {
      text += bytes
    })
    child.on('error', reject).on('close', () => {
      const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)
      const sockets = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)?.slice(1) ?? []
      const failures =
        number(/Non-2xx or 3xx responses: (\d+)/) + sockets.reduce((sum, count) => sum + Number(count), 0)
      resolve({ requests: number(/(\d+) requests in/), failures, text })
    })
  })
}
