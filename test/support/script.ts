import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import type { TestContext } from 'node:test'

/** The folder of package.json, wherever the compiled tests lie in it. */
export const PACKAGE_ROOT = dirname(createRequire(import.meta.url).resolve('heddle/package.json'))

/** A node process with something of ours; killed at the end of the test. */
export interface Script {
  readonly child: ChildProcess
  /** Resolves with the URL that it says it listens on; rejects where it ends without. */
  url(): Promise<string>
  /** Resolves when it has ended, with all that it has written. */
  exit(): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>
}

/** Runs node with `PORT=0`, by default in the package's folder. */
export function startScript(t: TestContext, args: readonly string[], cwd = PACKAGE_ROOT): Script {
  const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: __, ...env } = process.env
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const closed = once(child, 'close').then(([code]) => code as number | null)
  t.after(async () => {
    child.kill('SIGKILL')
    await closed
  })
  return {
    child,
    async url() {
      for (;;) {
        const found = /^listening on (https?:\/\/(?:127\.0\.0\.1|localhost):\d+)$/m.exec(stdout)?.[1]
        if (found !== undefined) return found
        const code = await Promise.race([once(child.stdout, 'data').then(() => undefined), closed])
        if (code !== undefined) throw new Error(`ended with ${code} before it listened: ${stdout}${stderr}`)
      }
    },
    exit: async () => ({ code: await closed, stdout, stderr }),
  }
}
