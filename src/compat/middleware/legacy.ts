import type { IncomingMessage, ServerResponse } from 'node:http'
import { deprecate } from 'node:util'
import { silent } from './logger.ts'
import type { DeprecatedOptions, Filter, Logger, OnProxyEvent, Options } from './types.ts'

/** The arguments of a middleware, in the names of today. */
export interface ReadArguments<TReq extends IncomingMessage, TRes extends ServerResponse> {
  readonly options: Options<TReq, TRes>
  /** The mount path of Express is sent on, as by version 2. */
  readonly sendsMountPath: boolean
}

const EVENTS: Readonly<Record<string, keyof OnProxyEvent>> = {
  onError: 'error',
  onProxyReq: 'proxyReq',
  onProxyReqWs: 'proxyReqWs',
  onProxyRes: 'proxyRes',
  onOpen: 'open',
  onClose: 'close',
}
const LOGGING = ['logLevel', 'logProvider'] as const
/** Who uses one of these writes for version 3 or 4, and has left an old name over. */
const NEW_NAMES = ['on', 'pathFilter', 'plugins', 'ejectPlugins', 'logger'] as const
const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const

/**
 * Reads the arguments of `createProxyMiddleware` as version 2, 3 or 4 wrote them. Those of version 2 give a deprecation warning,
 * once per process. @param mustBeOld they are of version 2, even if nothing else shows it.
 */
export function readArguments<TReq extends IncomingMessage, TRes extends ServerResponse>(
  first: Options<TReq, TRes> | Filter<TReq>,
  second: Options<TReq, TRes> | undefined,
  mustBeOld = false,
): ReadArguments<TReq, TRes> {
  const isOptions = typeof first === 'object' && first !== null && !Array.isArray(first)
  const given = isOptions ? (first as Options<TReq, TRes>) : { ...shorthand(first as Filter<TReq>), ...second }
  const old = [...Object.keys(EVENTS), ...LOGGING].filter(
    (name) => given[name as keyof DeprecatedOptions] !== undefined,
  )
  if (isOptions && old.length === 0 && !mustBeOld) return { options: given, sendsMountPath: false }
  const form = mustBeOld ? 'legacyCreateProxyMiddleware' : isOptions ? null : '(filter, options)'
  const isVersion2 = form !== null || !NEW_NAMES.some((name) => given[name] !== undefined)
  warn(form === null ? old : [form, ...old], isVersion2)
  return { options: renamed(given, isVersion2), sendsMountPath: isVersion2 }
}

/** `'http://host/path'` alone stood for a target and a filter. */
function shorthand<TReq extends IncomingMessage, TRes extends ServerResponse>(
  first: Filter<TReq>,
): Options<TReq, TRes> {
  if (typeof first !== 'string' || !/^(?:https?|wss?):\/\//.test(first)) return { pathFilter: first }
  const { protocol, host, pathname } = new URL(first)
  return { target: `${protocol}//${host}`, pathFilter: pathname, ...(protocol.startsWith('ws') && { ws: true }) }
}

function renamed<TReq extends IncomingMessage, TRes extends ServerResponse>(
  given: Options<TReq, TRes>,
  isVersion2: boolean,
): Options<TReq, TRes> {
  const options = { ...given }
  const on: Record<string, unknown> = {}
  for (const [name, event] of Object.entries(EVENTS)) {
    const listener = given[name as keyof DeprecatedOptions]
    if (typeof listener === 'function') on[event] = listener
    delete options[name as keyof DeprecatedOptions]
  }
  for (const name of LOGGING) delete options[name]
  options.on = { ...on, ...given.on }
  const logger = given.logger ?? (isVersion2 || given.logProvider ? oldLogger(given as DeprecatedOptions) : undefined)
  if (logger !== undefined) options.logger = logger
  return options
}

/** Version 2 logged to the console, on level `info`, and requests on level `debug`. */
function oldLogger({ logLevel = 'info', logProvider }: DeprecatedOptions): Logger {
  const provider: ReturnType<NonNullable<DeprecatedOptions['logProvider']>> = logProvider?.(console) ?? console
  const from = (level: (typeof LEVELS)[number]) => LEVELS.indexOf(level) >= LEVELS.indexOf(logLevel)
  return {
    info: from('debug') ? (provider.debug ?? provider.info).bind(provider) : silent.info,
    warn: from('warn') ? provider.warn.bind(provider) : silent.warn,
    error: from('error') ? provider.error.bind(provider) : silent.error,
  }
}

function warn(names: readonly string[], isVersion2: boolean): void {
  const each = names.map((name) => `${name} (now ${newName(name)})`).join(', ')
  const path = isVersion2 ? '. As in version 2, the mount path of app.use() is sent to the target' : ''
  const message = `heddle/middleware: these names are of http-proxy-middleware 2: ${each}${path}`
  // Node prints one warning for a code.
  deprecate(() => {}, message, 'HEDDLE_MIDDLEWARE_V2')()
}

function newName(name: string): string {
  if (name in EVENTS) return `on.${EVENTS[name]}`
  if (name.startsWith('log')) return 'logger'
  return name.startsWith('(') ? '{ pathFilter, ...options }' : 'createProxyMiddleware'
}
