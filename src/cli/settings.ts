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

/** What the command is to do: flags over file over defaults. */
export interface Settings {
  /** Made, and not yet listening. */
  readonly proxy: Proxy
  /** Where to listen, or `null` where nobody said. */
  readonly listen: Listen | null
  /** Diagnostics of the command itself. */
  readonly logger: Logger
  /** The file's name, or `null` without one. */
  readonly source: string | null
  /** How many routes there are; 0: everything goes to the unnamed group. */
  readonly routes: number
}

/** What a caller of {@link readSettings} wants otherwise than the user. */
export interface Overrides {
  /** Options that neither the file nor a flag says. */
  readonly defaults?: ProxyOptions
  /** Do not look for a file that is not named. */
  readonly ignoreFile?: boolean
  /** Threads, where the user says nothing. Default 1. */
  readonly threads?: number
  /** Least weight of the diagnostics, where the user says none. Default `info`. */
  readonly level?: 'info' | 'warn'
}

type Faults = OptionsError['faults'][number][]

/**
 * Reads the configuration and makes the proxy from it.
 * @throws OptionsError with every fault of flags and file at once; CommandError where there is nothing to read.
 */
export async function readSettings(flags: Flags, overrides: Overrides = {}): Promise<Settings> {
  const file = overrides.ignoreFile === true ? null : await readConfigFile(flags.config, process.cwd())
  if (file === null && flags.backend === undefined && overrides.defaults === undefined) {
    const ways = 'give --backend URL, or --config FILE, or write a heddle.config.json; to try it out: heddle demo'
    throw new CommandError(2, `nothing to proxy to: ${ways}`)
  }
  const faults: Faults = []
  const own = readOwn(flags, file?.content ?? {}, faults)
  const logger = consoleLogger({ level: own.level ?? overrides.level ?? DEFAULTS.level })
  const options = proxyOptions(flags, file, overrides.defaults)
  const count = own.threads ?? overrides.threads ?? DEFAULTS.threads
  if (count !== 1) options.executor = workerThreads({ threads: count })
  options.accessLog = own.access ?? options.accessLog ?? DEFAULTS.access
  if (own.level !== undefined || options.logger === undefined) options.logger = logger

  const proxy = tryCreate(options as ProxyOptions, flags, faults)
  if (proxy === null || faults.length > 0) {
    await proxy?.close()
    throw new OptionsError(faults)
  }
  const routes = Array.isArray(options.routes) ? options.routes.length : 0
  return { proxy, listen: own.listen ?? null, logger, source: file?.name ?? null, routes }
}

/** The options that are the command's and not `createProxy()`'s. */
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

function tryCreate(options: ProxyOptions, flags: Flags, faults: Faults): Proxy | null {
  try {
    return createProxy(options)
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error
    faults.push(...error.faults.map((fault) => asTyped(fault, flags)))
    return null
  }
}

/** In the command's words: what came from a flag has the flag's name, and its file holds more than `createProxy()` takes. */
function asTyped(fault: Faults[number], flags: Flags): Faults[number] {
  const { path, message, allowed } = fault
  const index = /^backends\[(\d+)\]$/.exec(path)?.[1]
  // By number: the URL may have a password in it.
  if (index !== undefined && flags.backend !== undefined) return { ...fault, path: `--backend #${Number(index) + 1}` }
  if (path === 'balancer' && flags.balancer !== undefined) return { ...fault, path: '--balancer' }
  const isUnknown = /^[\w$]+$/.test(path) && message.startsWith('is unknown')
  return isUnknown ? { ...fault, allowed: `${allowed}, listen, threads, log` } : fault
}

function wrong(path: string, value: unknown, allowed: string, example: unknown): Faults[number] {
  const shown = typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value)
  return { path, message: `is ${shown}`, value, allowed, example }
}
