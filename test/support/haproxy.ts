import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './ports.ts'

/** `skip` option of tests that need HAProxy. `.ci/run` installs it. */
export const withoutHaproxy = spawnSync('haproxy', ['-v']).status === 0 ? false : 'haproxy is not installed'

/** Runs HAProxy in front of `server`. @param server the rest of the line, such as `127.0.0.1:80 proto h2`. @param bind further options of `bind`. */
export async function haproxy(server: string, bind = ''): Promise<{ readonly port: number } & AsyncDisposable> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'heddle-haproxy-'))
  const file = join(folder, 'haproxy.cfg')
  await writeFile(
    file,
    `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 30s
listen front
  bind 127.0.0.1:${port} ${bind}
  server one ${server}
`,
  )
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stdout.on('data', (bytes) => {
    said += bytes
  })
  child.stderr.on('data', (bytes) => {
    said += bytes
  })
  const ended = once(child, 'exit')
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isOpen) break
    if (child.exitCode !== null) throw new Error(`haproxy has ended: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill()
      await ended
      await rm(folder, { recursive: true })
    },
  }
}
