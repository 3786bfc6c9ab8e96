import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endWithParent } from './announce.js'

/** Runs a server that is not ours in the foreground; it ends when this process does. Resolves when `port` answers. */
export async function runDaemon(tool, args, port) {
  const daemon = spawn(tool, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = new Promise((resolve) => daemon.once('exit', resolve))
  // Waited for, so that it is reaped here: not every container has an init that does it. `exit` is the last resort.
  endWithParent(() => {
    daemon.off('exit', onExit).kill('SIGKILL')
    return ended
  })
  process.on('exit', () => daemon.kill('SIGKILL'))
  const onExit = (code, signal) => fail(new Error(`${tool} ended with ${signal ?? code}`))
  daemon.on('exit', onExit).on('error', fail)
  while (!(await answers(port))) await sleep(20)
  return daemon
}

/** A folder that is gone when this process is. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A port that was free a moment ago; for servers that cannot say which one they were given. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

function fail(error) {
  process.stderr.write(`${error}\n`)
  process.exit(1)
}
