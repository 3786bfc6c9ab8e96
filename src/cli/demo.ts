import type { ExchangeRecord } from '../index.ts'
import type { Flags } from './arguments.ts'
import { type DemoBackend, type DemoControl, startDemoBackend } from './demo-backend.ts'
import { tableLines, watchBackends } from './demo-table.ts'
import { DEFAULTS } from './file-options.ts'
import { LiveDisplay } from './live-display.ts'
import { type Opened, openListeners } from './open.ts'
import { serve } from './run.ts'
import { readSettings, type Settings } from './settings.ts'

const LISTENER = { port: DEFAULTS.port, host: '127.0.0.1' }

/** Short enough to watch a backend come back. */
const HEALTH_CHECK = { consecutiveFailures: 3, baseMs: 5000, maxMs: 5000 }

/** How often the table is drawn, ms. */
const FRAME_MS = 200

/** Starts three small backends that differ in speed, and a proxy in front of them. Resolves when the proxy listens. */
export async function demo(flags: Flags): Promise<void> {
  const backends: DemoBackend[] = []
  const output = openOutput(flags)
  const control = controlOf(backends, output.say)
  for (const [id, latencyMs] of [
    ['swift', 5],
    ['steady', 20],
    ['leisurely', 60],
  ] as const) {
    backends.push(await startDemoBackend(id, latencyMs, control))
  }
  const closeBackends = async (): Promise<void> => {
    await Promise.all(backends.map((backend) => backend.stop()))
  }
  const settings = await readSettings(flags, {
    ignoreFile: true,
    // What happens to backends is said in words of the demo's own.
    level: 'error',
    // On Linux, threads can share a port with every supported node.
    threads: process.platform === 'linux' ? 2 : 1,
    defaults: {
      backends: backends.map(({ id, url }) => ({ id, url })),
      healthCheck: HEALTH_CHECK,
      accessLog: 'off',
      drainTimeoutMs: 2000,
    },
  }).catch(async (error: unknown) => {
    await closeBackends()
    throw error
  })
  const { proxy } = settings
  proxy
    .on('eject', ({ id }, ms, reason) =>
      output.say(`${clock()} ${id} is ejected for ${ms / 1000} s: ${reason.replace(/ \(.*$/, '')}`),
    )
    .on('uneject', ({ id }) => output.say(`${clock()} ${id} is tried again`))

  await serve({
    proxy,
    logger: settings.logger,
    open: () => open(settings, output.say),
    onOpen([address]) {
      introduce(address?.url ?? '', backends, output)
      output.begin(settings)
    },
    onSignal() {
      output.end('Shutting down: waiting up to 2 s for requests in flight.')
      for (const backend of backends) backend.endStreams()
    },
    onClose: closeBackends,
  })
}

/** Listens where the flags say; else on the default port, or on a free one if that is taken. */
async function open(settings: Settings, say: Say): Promise<Opened> {
  if (settings.listeners.length > 0) return openListeners(settings, settings.listeners)
  try {
    return await openListeners(settings, [LISTENER])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    const opened = await openListeners(settings, [{ ...LISTENER, port: 0 }])
    say(`Port ${LISTENER.port} is taken, so the demo listens on ${opened.addresses[0]?.url} instead.\n`)
    return opened
  }
}

/** Obeys `POST /stop/NAME` and `POST /start/NAME`. */
function controlOf(backends: readonly DemoBackend[], say: Say): DemoControl {
  const stopped = new Set<string>()
  return (command, name) => {
    const backend = backends.find(({ id }) => id === name)
    if (backend === undefined)
      return { text: `there is no ${name}; there are ${backends.map(({ id }) => id).join(', ')}` }
    const isStop = command === 'stop'
    if (isStop === stopped.has(name)) return { text: `${name} is ${isStop ? 'stopped' : 'running'} already` }
    if (isStop && stopped.size === backends.length - 1) return { text: `${name} is the last one that runs` }
    if (isStop) stopped.add(name)
    else stopped.delete(name)
    return {
      text: isStop ? `${name} stops` : `${name} starts again`,
      act() {
        say(`${clock()} ${name} ${isStop ? 'has been stopped' : 'runs again'}`)
        const done = isStop ? backend.stop() : backend.start()
        done.catch((error: unknown) => say(`${clock()} ${name} could not ${command}: ${String(error)}`))
      },
    }
  }
}

type Say = (text: string) => void

interface Output {
  readonly isLive: boolean
  readonly say: Say
  /** The proxy listens: from now on what happens is shown. */
  begin(settings: Settings): void
  /** Says a last word, and leaves the terminal as it was. */
  end(text: string): void
}

/** On a terminal a table, redrawn in place; else, or with an access log, a line for each request. */
function openOutput(flags: Flags): Output {
  const { stdout } = process
  const hasLines = flags['access-log'] === undefined
  if (stdout.isTTY !== true || process.env.TERM === 'dumb' || !hasLines) {
    const say: Say = (text) => stdout.write(`${text}\n`)
    return {
      isLive: false,
      say,
      begin({ proxy }) {
        if (hasLines) proxy.on('finish', (_, record) => say(exchangeLine(record)))
      },
      end: (text) => say(`\n${text}`),
    }
  }
  let display: LiveDisplay | null = null
  const say: Say = (text) => (display === null ? stdout.write(`${text}\n`) : display.log(text))
  return {
    isLive: true,
    say,
    begin({ proxy }) {
      const rows = watchBackends(proxy)
      const opened = new LiveDisplay(stdout)
      display = opened
      const draw = (): void => opened.draw(tableLines(rows(), stdout.columns, stdout.hasColors()))
      draw()
      setInterval(draw, FRAME_MS).unref()
      stdout.on('resize', draw)
      // However the command ends.
      process.once('exit', () => opened.close())
    },
    end(text) {
      say(text)
    },
  }
}

function introduce(url: string, backends: readonly DemoBackend[], { say, isLive }: Output): void {
  const names = backends.map((backend) => `  ${backend.id.padEnd(10)} ${backend.url}`)
  say(`heddle is listening on ${url}

Three backends share the load:
${names.join('\n')}

Try, in another terminal:
  curl "${url}/?[1-30]"
      30 requests, which the backends share
  curl -X POST ${url}/stop/steady
      a backend fails: send the 30 requests again, and none of them fails
  curl -X POST ${url}/start/steady
      it is back: send them once more

${isLive ? '' : 'Each request is logged here. '}Press Ctrl-C to stop.${isLive ? '' : '\n'}`)
}

function clock(epochMs: number = Date.now()): string {
  return new Date(epochMs).toTimeString().slice(0, 8)
}

function exchangeLine(record: ExchangeRecord): string {
  const { epochMs, method, target, status, backend, totalMs, errorCode, attempts } = record
  const from = backend === null ? '' : ` from ${backend}`
  const tries = attempts > 1 ? `, ${attempts} attempts` : ''
  const failure = errorCode === null ? '' : `, ${errorCode}`
  return `${clock(epochMs)} ${status} ${method} ${printable(target)}${from} in ${Math.round(totalMs)} ms${tries}${failure}`
}

/** A target may contain bytes that drive a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
