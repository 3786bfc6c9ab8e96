import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

const SOURCE = `
  const server = require('node:http').createServer((req, res) => res.end('${'x'.repeat(100)}'))
  server.listen(Number(process.argv[1]), '127.0.0.1', () => console.log(server.address().port))
`

/** A backend in a process of its own, to be killed like one. */
export interface ChildBackend extends AsyncDisposable {
  readonly port: number
  readonly url: string
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

/** @param port 0 for any. */
export async function childBackend(port = 0): Promise<ChildBackend> {
  const child: ChildProcess = spawn(process.execPath, ['-e', SOURCE, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout as NodeJS.EventEmitter, 'data')) as [Buffer]
  const actual = Number(line.toString())
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { port: actual, url: `http://127.0.0.1:${actual}`, kill, [Symbol.asyncDispose]: kill }
}
