import { spawn, spawnSync } from 'node:child_process'

/** `skip` option of tests that need curl. */
export const withoutCurl = spawnSync('curl', ['--version']).status === 0 ? false : 'curl is not installed'

/** What a run of curl gave. */
export interface CurlResult {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs curl; `input` goes to its standard input. */
export function curl(args: readonly string[], input?: Uint8Array): Promise<CurlResult> {
  return new Promise((resolve, reject) => {
    const child = spawn('curl', ['-sS', '--noproxy', '*', '--max-time', '20', ...args])
    const stdout: Buffer[] = []
    let stderr = ''
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes))
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString()
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.on('error', reject).on('close', (code) => resolve({ code, stdout: Buffer.concat(stdout), stderr }))
  })
}
