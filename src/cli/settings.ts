import {
  consoleLogger,
  createProxy,
  type Logger,
  type OptionFault,
  OptionsError,
  type Proxy,
  type ProxyOptions,
  workerThreads,
} from '../index.ts'
import { likelyBackendUrl } from '../model/backend-url.ts'
import type { Flags } from './arguments.ts'
import { CommandError } from './command-error.ts'
import { type ConfigFile, readConfigFile } from './config-file.ts'
import { describeFaults, fault, isShown, unknown } from './fault.ts'
import { access, DEFAULTS, type Level, level, threads } from './file-options.ts'
import { type Listener, readListeners } from './listeners.ts'
import { PemFiles } from './pem-files.ts'

/** The settings of the command. Flags override the file, and the file overrides the defaults. */
export interface Settings {
  /** Does not listen yet. */
  readonly proxy: Proxy
  /** Where to listen; empty if neither the flags nor the file say. */
  readonly listeners: readonly Listener[]
  /** The options that the proxy was made with. */
  readonly options: ProxyOptions
  /** Diagnostics of the command itself. */
  readonly logger: Logger
  /** The file's name, or `null` without a file. */
  readonly source: string | null
  /** Number of routes. 0: every request goes to the unnamed group. */
  readonly routes: number
  /** What works, and is worth a warning. */
  readonly warnings: readonly string[]
  /** The same about listeners; the proxy logs it when it listens. */
  readonly listenWarnings: readonly string[]
}

/** Changes a caller makes to the defaults of {@link readSettings}. */
export interface Overrides {
  /** Default options of the proxy. */
  readonly defaults?: ProxyOptions
  /** Read a configuration file only if it is named. */
  readonly ignoreFile?: boolean
  /** Default number of threads. Default 1. */
  readonly threads?: number
  /** Default level of the diagnostics. Default `info`. */
  readonly level?: Level
  /** Where diagnostics go. Default: standard error. */
  readonly stream?: NonNullable<Parameters<typeof consoleLogger>[0]>['stream']
}

const NO_BACKENDS = {
  path: 'backends',
  message: 'is missing: there are no backends',
  value: undefined,
  allowed: 'a list of backends; with an empty list requests get 503',
  example: ['http://127.0.0.1:3000'],
}

/**
 * Reads the configuration and creates the proxy from it.
 * @throws CommandError with every mistake in flags and file at once, or if there is no configuration.
 */
export async function readSettings(flags: Flags, overrides: Overrides = {}): Promise<Settings> {
  const file = overrides.ignoreFile === true ? null : await readConfigFile(flags.config, process.cwd())
  if (file === null && flags.backend === undefined && overrides.defaults === undefined) {
    const ways = 'give --backend URL, or --config FILE, or write a heddle.config.json; to try it out: heddle demo'
    throw new CommandError(2, `no backends: ${ways}`)
  }
  const faults: OptionFault[] = []
  const files = new PemFiles(file?.folder ?? process.cwd(), faults)
  const own = readOwn(flags, file?.content ?? {}, files, faults)
  const stream = overrides.stream === undefined ? {} : { stream: overrides.stream }
  const logger = consoleLogger({ level: own.level ?? overrides.level ?? DEFAULTS.level, ...stream })
  const options = proxyOptions(flags, withPemFiles(contentOf(file, flags), files), overrides.defaults)
  const count = own.threads ?? overrides.threads ?? DEFAULTS.threads
  if (count !== 1) {
    // A listener that redirects is served by the main thread.
    const serving = own.listeners.filter(({ redirect }) => redirect === undefined)
    options.executor = workerThreads({ threads: count, listeners: Math.max(1, serving.length) })
  }
  options.accessLog = own.access ?? options.accessLog ?? DEFAULTS.access
  if (own.level !== undefined || options.logger === undefined) options.logger = logger

  if (!hasBackends(options)) faults.push(NO_BACKENDS)
  const proxy = tryCreate(options as ProxyOptions, flags, faults)
  if (proxy === null || faults.length > 0) {
    await proxy?.close()
    throw new CommandError(2, describeFaults(faults, file))
  }
  return {
    proxy,
    listeners: own.listeners,
    options: options as ProxyOptions,
    logger,
    source: file?.name ?? null,
    routes: Array.isArray(options.routes) ? options.routes.length : 0,
    warnings: files.warnings,
    listenWarnings: files.listenWarnings,
  }
}

/** Reads the options that `createProxy()` does not have. */
function readOwn(flags: Flags, file: ConfigFile['content'], files: PemFiles, faults: OptionFault[]) {
  const log = logOf(file.log, faults)
  const read = <T>(option: { read(value: unknown): T | undefined; allowed: string; example: unknown }) => {
    return (flag: keyof Flags, path: string, inFile: unknown): T | undefined => {
      const [where, value] = flags[flag] === undefined ? [path, inFile] : [`--${flag}`, flags[flag]]
      if (value === undefined) return undefined
      const found = option.read(value)
      if (found === undefined) faults.push(fault(where, isShown(value), value, option.allowed, option.example))
      return found
    }
  }
  const [where, addresses] = flags.listen === undefined ? ['listen', file.listen] : ['--listen', flags.listen]
  return {
    threads: read(threads)('threads', 'threads', file.threads),
    listeners: addresses === undefined ? [] : readListeners(addresses, where, files, faults),
    access: read(access)('access-log', 'log.access', log.access),
    level: read(level)('log-level', 'log.level', log.level),
  }
}

function logOf(log: unknown, faults: OptionFault[]): Readonly<Record<string, unknown>> {
  if (log === undefined) return {}
  const example = { access: 'json', level: 'warn' }
  if (typeof log !== 'object' || log === null || Array.isArray(log)) {
    faults.push(fault('log', isShown(log), log, 'an object with access, level', example))
    return {}
  }
  const known = ['access', 'level']
  for (const [key, value] of Object.entries(log)) {
    if (!known.includes(key)) faults.push(fault(`log.${key}`, unknown(key, known), value, known.join(', '), example))
  }
  return { ...log }
}

/** The content with PEM in place of the paths of PEM files. */
function withPemFiles(content: ConfigFile['content'], files: PemFiles): ConfigFile['content'] {
  const read = (backend: unknown, path: string): unknown => {
    if (!isRecord(backend) || !isRecord(backend.tls)) return backend
    return { ...backend, tls: files.read(backend.tls, `${path}.tls`) }
  }
  const ofGroup = (group: Readonly<Record<string, unknown>>, prefix: string): object => {
    const { target, backends } = group
    return {
      ...group,
      ...(target !== undefined && { target: read(target, `${prefix}target`) }),
      ...(Array.isArray(backends) && { backends: backends.map((one, at) => read(one, `${prefix}backends[${at}]`)) }),
    }
  }
  const { groups } = content
  if (!isRecord(groups)) return ofGroup(content, '') as ConfigFile['content']
  const named = Object.entries(groups).map(([name, group]): [string, unknown] => {
    const path = /^[A-Za-z_$][\w$]*$/.test(name) ? `groups.${name}.` : `groups[${JSON.stringify(name)}].`
    return [name, isRecord(group) ? ofGroup(group, path) : group]
  })
  return { ...ofGroup(content, ''), groups: Object.fromEntries(named) }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The file's content, without what the flags replace. */
function contentOf(file: ConfigFile | null, { backend }: Flags): ConfigFile['content'] {
  const { target, backends, ...others } = file?.content ?? {}
  return backend === undefined ? (file?.content ?? {}) : others
}

function proxyOptions(
  flags: Flags,
  content: ConfigFile['content'],
  defaults: ProxyOptions = {},
): Record<string, unknown> {
  const { $schema, listen, threads, log, ...fromFile } = content
  const options: Record<string, unknown> = { ...defaults, ...fromFile }
  if (flags.backend !== undefined) options.backends = flags.backend.map((typed) => likelyBackendUrl(typed) ?? typed)
  if (flags.balancer !== undefined) options.balancer = flags.balancer
  return options
}

/** Whether there is anything to forward to. In code a proxy without backends has a use; a command has none. */
function hasBackends({ backends, target, groups }: Record<string, unknown>): boolean {
  return (
    backends !== undefined || target !== undefined || (groups !== undefined && Object.keys(Object(groups)).length > 0)
  )
}

function tryCreate(options: ProxyOptions, flags: Flags, faults: OptionFault[]): Proxy | null {
  try {
    return createProxy(options)
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error
    faults.push(...error.faults.map((fault) => asTyped(fault, flags)))
    return null
  }
}

/** Rewords a fault for the command: a value from a flag gets the flag's name, and the file may have more options. */
function asTyped(fault: OptionFault, flags: Flags): OptionFault {
  const { path, message, allowed } = fault
  const index = /^backends\[(\d+)\]$/.exec(path)?.[1]
  // Named by number, since the URL may contain a password.
  if (index !== undefined && flags.backend !== undefined) return { ...fault, path: `--backend #${Number(index) + 1}` }
  if (path === 'balancer' && flags.balancer !== undefined) return { ...fault, path: '--balancer' }
  if (!/^[\w$]+$/.test(path) || !message.startsWith('is unknown')) return fault
  // The file has more options than createProxy() knows.
  const own = ['listen', 'threads', 'log']
  return {
    ...fault,
    message: message === 'is unknown' ? unknown(path, own) : message,
    allowed: [allowed, ...own].join(', '),
  }
}
