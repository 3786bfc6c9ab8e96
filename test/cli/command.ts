import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const BIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** The command, running as a child process; killed at the end of the test. */
export interface Running {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  /** Resolves with what `pattern` finds in the output, as soon as it does; rejects where the command ends before. */
  output(pattern: RegExp): Promise<RegExpExecArray>
  /** Resolves with the URL that it says it listens on. */
  url(): Promise<string>
  exit(): Promise<{ code: number | null; stdout: string; stderr: string }>
}

/** Starts the compiled command. */
export function start(t: TestContext, args: readonly string[], cwd = directory(t)): Running {
  const child = spawn(process.execPath, [BIN, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  let hasEnded = false
  const closed = once(child, 'close').finally(() => {
    hasEnded = true
  })
  t.after(async () => {
    child.kill('SIGKILL')
    await closed
  })

  async function output(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(stdout) ?? pattern.exec(stderr)
      if (found !== null) return found
      if (hasEnded) throw new Error(`ended with ${child.exitCode} before ${pattern}: ${stdout}${stderr}`)
      await Promise.race([once(child.stdout, 'data'), once(child.stderr, 'data'), closed])
    }
  }
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    output,
    url: async () => (await output(/listening on (https?:\/\/[\w.:[\]]+)/))[1] ?? '',
    async exit() {
      const [code] = await closed
      return { code, stdout, stderr }
    },
  }
}

/** Runs the compiled command to its end. */
export function run(t: TestContext, args: readonly string[], cwd?: string): ReturnType<Running['exit']> {
  return start(t, args, cwd).exit()
}

/** A new empty directory with these files, removed at the end of the test. */
export function directory(t: TestContext, files: Readonly<Record<string, string>> = {}): string {
  const path = mkdtempSync(join(tmpdir(), 'heddle-cli-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content)
  return path
}
