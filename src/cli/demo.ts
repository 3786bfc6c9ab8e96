import type { ExchangeRecord, ListenAddress, Proxy } from '../index.ts'
import type { Flags } from './arguments.ts'
import { type DemoBackend, startDemoBackend } from './demo-backend.ts'
import { DEFAULTS, type Listen } from './file-options.ts'
import { describeListen, serve } from './run.ts'
import { readSettings } from './settings.ts'

const LISTEN: Listen = { port: DEFAULTS.port, host: '127.0.0.1' }

/** Starts three small backends that differ in speed, and a proxy in front of them. Resolves when the proxy listens. */
export async function demo(flags: Flags): Promise<void> {
  const backends = await Promise.all([
    startDemoBackend('swift', 5),
    startDemoBackend('steady', 20),
    startDemoBackend('leisurely', 60),
  ])
  const closeBackends = async (): Promise<void> => {
    await Promise.all(backends.map((backend) => backend.close()))
  }
  const settings = await readSettings(flags, {
    ignoreFile: true,
    level: 'warn',
    // On Linux, threads can share a port with every supported node.
    threads: process.platform === 'linux' ? 2 : 1,
    defaults: { backends: backends.map(({ id, url }) => ({ id, url })), accessLog: 'off', drainTimeoutMs: 2000 },
  }).catch(async (error: unknown) => {
    await closeBackends()
    throw error
  })
  const { proxy } = settings
  // Human-readable lines, unless a format is given.
  if (flags['access-log'] === undefined) proxy.on('finish', (_, record) => say(exchangeLine(record)))

  await serve({
    proxy,
    logger: settings.logger,
    open: () => (settings.listen === null ? listenOnFreePort(proxy) : proxy.listen(settings.listen)),
    onOpen: (address) => introduce(address, backends),
    onSignal() {
      say('\nShutting down: waiting up to 2 s for requests in flight.')
      for (const backend of backends) backend.endStreams()
    },
    onClose: closeBackends,
  })
}

/** Listens on the default port, or on a free one if that is taken. */
async function listenOnFreePort(proxy: Proxy): Promise<ListenAddress> {
  try {
    return await proxy.listen(LISTEN)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    const address = await proxy.listen({ ...LISTEN, port: 0 })
    say(`Port ${LISTEN.port} is taken, so the demo listens on ${describeListen(address)} instead.\n`)
    return address
  }
}

function introduce({ url }: ListenAddress, backends: readonly DemoBackend[]): void {
  const names = backends.map((backend) => `  ${backend.id.padEnd(10)} ${backend.url}`)
  say(`heddle is listening on ${url}

Three backends share the load:
${names.join('\n')}

Try:
  curl ${url}/                      repeat it: the backends take turns
  curl -N ${url}/events             a stream, passed on as it arrives
  curl -d hello ${url}/echo         the request as the backend received it

Each request is logged here. Press Ctrl-C to stop.
`)
}

function exchangeLine(record: ExchangeRecord): string {
  const { epochMs, method, target, status, backend, totalMs, errorCode, attempts } = record
  const time = new Date(epochMs).toTimeString().slice(0, 8)
  const from = backend === null ? '' : ` from ${backend}`
  const tries = attempts > 1 ? `, ${attempts} attempts` : ''
  const failure = errorCode === null ? '' : `, ${errorCode}`
  return `${time} ${status} ${method} ${printable(target)}${from} in ${Math.round(totalMs)} ms${tries}${failure}`
}

/** A target may contain bytes that drive a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
