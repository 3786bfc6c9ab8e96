import {
  consoleLogger,
  createProxy,
  type Logger,
  OptionsError,
  type Proxy,
  type ProxyOptions,
  workerThreads,
} from '../index.ts'
import type { Flags } from './arguments.ts'
import { CommandError } from './command-error.ts'
import { type ConfigFile, readConfigFile } from './config-file.ts'
import { access, DEFAULTS, type Listen, level, listen, threads } from './file-options.ts'

/** The settings of the command. Flags override the file, and the file overrides the defaults. */
export interface Settings {
  /** Does not listen yet. */
  readonly proxy: Proxy
  /** Where to listen, or `null` if neither the flags nor the file say. */
  readonly listen: Listen | null
  /** Diagnostics of the command itself. */
  readonly logger: Logger
  /** The file's name, or `null` without a file. */
  readonly source: string | null
  /** Number of routes. 0: every request goes to the unnamed group. */
  readonly routes: number
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
  readonly level?: 'info' | 'warn'
}

const NO_BACKENDS = {
  path: 'backends',
  message: 'is missing: there are no backends',
  value: undefined,
  allowed: 'a list of backends; with an empty list requests get 503',
  example: ['http://127.0.0.1:3000'],
}

type Faults = OptionsError['faults'][number][]

/**
 * Reads the configuration and creates the proxy from it.
 * @throws OptionsError with every mistake in flags and file at once; CommandError if there is no configuration.
 */
export async function readSettings(flags: Flags, overrides: Overrides = {}): Promise<Settings> {
  const file = overrides.ignoreFile === true ? null : await readConfigFile(flags.config, process.cwd())
  if (file === null && flags.backend === undefined && overrides.defaults === undefined) {
    const ways = 'give --backend URL, or --config FILE, or write a heddle.config.json; to try it out: heddle demo'
    throw new CommandError(2, `no backends: ${ways}`)
  }
  const faults: Faults = []
  const own = readOwn(flags, file?.content ?? {}, faults)
  const logger = consoleLogger({ level: own.level ?? overrides.level ?? DEFAULTS.level })
  const options = proxyOptions(flags, file, overrides.defaults)
  const count = own.threads ?? overrides.threads ?? DEFAULTS.threads
  if (count !== 1) options.executor = workerThreads({ threads: count })
  options.accessLog = own.access ?? options.accessLog ?? DEFAULTS.access
  if (own.level !== undefined || options.logger === undefined) options.logger = logger

  if (!hasBackends(options)) faults.push(NO_BACKENDS)
  const proxy = tryCreate(options as ProxyOptions, flags, faults)
  if (proxy === null || faults.length > 0) {
    await proxy?.close()
    throw new OptionsError(faults)
  }
  const routes = Array.isArray(options.routes) ? options.routes.length : 0
  return { proxy, listen: own.listen ?? null, logger, source: file?.name ?? null, routes }
}

/** Reads the options that `createProxy()` does not have. */
function readOwn(flags: Flags, file: ConfigFile['content'], faults: Faults) {
  const log = logOf(file.log, faults)
  const read = <T>(option: { read(value: unknown): T | undefined; allowed: string; example: unknown }) => {
    return (flag: keyof Flags, path: string, inFile: unknown): T | undefined => {
      const [where, value] = flags[flag] === undefined ? [path, inFile] : [`--${flag}`, flags[flag]]
      if (value === undefined) return undefined
      const found = option.read(value)
      if (found === undefined) faults.push(wrong(where, value, option.allowed, option.example))
      return found
    }
  }
  return {
    threads: read(threads)('threads', 'threads', file.threads),
    listen: read(listen)('listen', 'listen', file.listen),
    access: read(access)('access-log', 'log.access', log.access),
    level: read(level)('log-level', 'log.level', log.level),
  }
}

function logOf(log: unknown, faults: Faults): Readonly<Record<string, unknown>> {
  if (log === undefined) return {}
  const example = { access: 'json', level: 'warn' }
  if (typeof log !== 'object' || log === null || Array.isArray(log)) {
    faults.push(wrong('log', log, 'an object with access, level', example))
    return {}
  }
  for (const [key, value] of Object.entries(log)) {
    if (key === 'access' || key === 'level') continue
    faults.push({ path: `log.${key}`, message: 'is unknown', value, allowed: 'access, level', example })
  }
  return { ...log }
}

function proxyOptions(flags: Flags, file: ConfigFile | null, defaults: ProxyOptions = {}): Record<string, unknown> {
  const { $schema, listen, threads, log, ...fromFile } = file?.content ?? {}
  const options: Record<string, unknown> = { ...defaults, ...fromFile }
  if (flags.backend !== undefined) {
    delete options.target
    options.backends = [...flags.backend]
  }
  if (flags.balancer !== undefined) options.balancer = flags.balancer
  return options
}

/** Whether there is anything to forward to. In code a proxy without backends has a use; a command has none. */
function hasBackends({ backends, target, groups }: Record<string, unknown>): boolean {
  return (
    backends !== undefined || target !== undefined || (groups !== undefined && Object.keys(Object(groups)).length > 0)
  )
}

function tryCreate(options: ProxyOptions, flags: Flags, faults: Faults): Proxy | null {
  try {
    return createProxy(options)
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error
    faults.push(...error.faults.map((fault) => asTyped(fault, flags)))
    return null
  }
}

/** Rewords a fault for the command: a value from a flag gets the flag's name, and the file may have more options. */
function asTyped(fault: Faults[number], flags: Flags): Faults[number] {
  const { path, message, allowed } = fault
  const index = /^backends\[(\d+)\]$/.exec(path)?.[1]
  // Named by number, since the URL may contain a password.
  if (index !== undefined && flags.backend !== undefined) return { ...fault, path: `--backend #${Number(index) + 1}` }
  if (path === 'balancer' && flags.balancer !== undefined) return { ...fault, path: '--balancer' }
  const isUnknown = /^[\w$]+$/.test(path) && message.startsWith('is unknown')
  return isUnknown ? { ...fault, allowed: `${allowed}, listen, threads, log` } : fault
}

function wrong(path: string, value: unknown, allowed: string, example: unknown): Faults[number] {
  const shown = typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value)
  return { path, message: `is ${shown}`, value, allowed, example }
}
