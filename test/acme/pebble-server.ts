import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { certificate, key } from '../support/certificates.ts'
import { freePort } from '../support/ports.ts'

/** Pebble, a small authority for tests, on this machine. It finds every name at 127.0.0.1. */
export interface Pebble extends AsyncDisposable {
  /** URL. */
  readonly directory: string
  /** PEM: whose certificates the directory has. */
  readonly ca: string
  /** Where it looks for the challenges http-01. */
  readonly httpPort: number
  /** Where it looks for the challenges tls-alpn-01. */
  readonly tlsPort: number
  /** PEM: the root of the certificates that it issues. */
  root(): Promise<string>
  /** Ends, and begins again without its memory. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** The life of its certificates. */
export const LIFE_MS = 90 * 24 * 60 * 60 * 1000

/** Whether the programs are there (`apt-get install pebble`). */
export function hasPebble(): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v pebble && command -v pebble-challtestsrv'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** @param more settings of Pebble. */
export async function startPebble(more: object = {}): Promise<Pebble> {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-pebble-'))
  const [port, management, httpPort, tlsPort, dns] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ]
  writeFileSync(join(folder, 'cert.pem'), certificate)
  writeFileSync(join(folder, 'key.pem'), key)
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: join(folder, 'cert.pem'),
      privateKey: join(folder, 'key.pem'),
      httpPort,
      tlsPort,
      ocspResponderURL: '',
      externalAccountBindingRequired: false,
      certificateValidityPeriod: LIFE_MS / 1000,
      ...more,
    },
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const names = run('pebble-challtestsrv', [
    ...['-dns01', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${await freePort()}`, '-defaultIPv6', ''],
    ...['-http01', '', '-https01', '', '-tlsalpn01', ''],
  ])
  const serve = (): Running => run('pebble', ['-config', join(folder, 'config.json'), '-dnsserver', `127.0.0.1:${dns}`])
  let server = serve()
  await Promise.all([names.says(/Starting management server/), server.says(/Listening on/)])

  return {
    directory: `https://127.0.0.1:${port}/dir`,
    ca: certificate,
    httpPort,
    tlsPort,
    async root() {
      const dispatcher = new Agent({ connect: { ca: certificate } })
      const { body } = await request(`https://127.0.0.1:${management}/roots/0`, { dispatcher })
      const text = await body.text()
      await dispatcher.close()
      return text
    },
    async restart() {
      await server.stop()
      server = serve()
      await server.says(/Listening on/)
    },
    stop: () => server.stop(),
    async [Symbol.asyncDispose]() {
      await Promise.all([server.stop(), names.stop()])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

interface Running {
  /** Resolves when it has written that. */
  says(pattern: RegExp): Promise<void>
  stop(): Promise<void>
}

function run(program: string, args: readonly string[]): Running {
  const env = { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '20', PEBBLE_AUTHZREUSE: '0' }
  const child: ChildProcess = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      child.emit('text')
    })
  }
  const closed = once(child, 'close')
  return {
    async says(pattern) {
      while (!pattern.test(text)) {
        if (child.exitCode !== null) throw new Error(`${program} has ended: ${text}`)
        await Promise.race([once(child, 'text'), closed])
      }
    },
    async stop() {
      child.kill('SIGKILL')
      await closed
    },
  }
}
