import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** Begins what moves the cursor, or colours text. */
export const ESC = '\x1b'
const ESCAPES = new RegExp(`${ESC}\\[[?\\d;]*[A-Za-z]`, 'g')

/** Why tests that need a terminal cannot run here; `false` if they can. */
export const withoutTerminal = process.platform !== 'linux' && 'needs script(1) of util-linux'

/** The command on a terminal of its own. */
export interface OnTerminal {
  readonly child: ChildProcess
  /** All that was written to the terminal. */
  text(): string
  /** The same without what moves the cursor or colours text. */
  plain(): string
  /** Resolves as soon as the plain text that follows the first `from` characters has the pattern. */
  shows(pattern: RegExp, from?: number): Promise<RegExpExecArray>
  type(keys: string): void
  /** Changes the size of the terminal, as a window does. */
  resize(columns: number): void
}

/** Starts the compiled command on a terminal of `columns` columns and 30 lines. */
export function startOnTerminal(
  t: TestContext,
  args: string,
  columns: number,
  env: NodeJS.ProcessEnv = {},
): OnTerminal {
  const command = `tty; echo $$; stty cols ${columns} rows 30; exec ${process.execPath} ${MAIN} ${args}`
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  let hasEnded = false
  const closed = once(child, 'close').then(() => {
    hasEnded = true
  })
  t.after(async () => {
    // The command itself: the end of its terminal does not end it, since it ignores SIGHUP.
    const pid = /^\d+(?=\r)/m.exec(text)?.[0]
    if (!hasEnded && pid !== undefined) process.kill(Number(pid), 'SIGKILL')
    child.kill()
    await closed
  })
  const plain = (): string => text.replace(ESCAPES, '').replaceAll('\r', '')
  return {
    child,
    text: () => text,
    plain,
    async shows(pattern, from = 0) {
      for (;;) {
        const found = pattern.exec(plain().slice(from))
        if (found !== null) return found
        if (hasEnded) throw new Error(`ended before ${pattern}: ${text}`)
        await Promise.race([once(child.stdout, 'data'), closed])
      }
    },
    type: (keys) => child.stdin.write(keys),
    resize(to) {
      const tty = /^\/dev\/pts\/\d+/.exec(text)?.[0] ?? ''
      execFileSync('stty', ['-F', tty, 'cols', String(to)])
    },
  }
}
