import {
  type CallOverrides,
  createProxy,
  type Logger,
  type Proxy,
  type ProxyError,
  type ProxyOptions,
  type TimeoutOptions,
} from '../../index.ts'
import { bodies, heads } from './hooks.ts'
import type { ServerOptions } from './types.ts'

/** What http-proxy does not limit is not limited: the server in front has limits for requests, and node has none on connections. */
const UNLIMITED = {
  pool: { maxConnections: 100_000, maxWaiting: 100_000 },
  limits: { maxHeaders: 2000, maxTargetBytes: 65_536 },
} satisfies ProxyOptions

/** Forwarding headers are passed on as they come, whoever sends them. */
const EVERYBODY = ['0.0.0.0/0', '::/0', 'unix']

/** The routes of each engine. What a call does not need costs it nothing. */
const ROUTES = {
  plain: [],
  heads: [{ transforms: [heads] }],
  bodies: [{ transforms: [heads], interceptors: [bodies] }],
} satisfies Record<string, ProxyOptions['routes']>

/** What the hooks of a call look at. */
export type Looks = keyof typeof ROUTES

/** The `context` of a call. */
interface Context {
  onEngineError(error: ProxyError): void
}

/** The proxies behind a `ProxyServer`, created on first use. */
export class Engines {
  readonly #logger: Logger
  readonly #proxies: Partial<Record<Looks, Proxy>> = {}
  #timeouts: TimeoutOptions | null = null

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** The proxy for a call. Adds time limits to its `overrides` if they are not those of the first call. */
  get(looks: Looks, { connectTimeout = 0, proxyTimeout = 0 }: ServerOptions, overrides: CallOverrides): Proxy {
    this.#timeouts ??= timeoutsOf(connectTimeout, proxyTimeout)
    const { connect, headers } = this.#timeouts
    if (connect !== connectTimeout || headers !== proxyTimeout) {
      overrides.timeouts = timeoutsOf(connectTimeout, proxyTimeout)
    }
    this.#proxies[looks] ??= this.#create(ROUTES[looks])
    return this.#proxies[looks]
  }

  #create(routes: NonNullable<ProxyOptions['routes']>): Proxy {
    const proxy = createProxy({
      ...UNLIMITED,
      routes,
      logger: this.#logger,
      retry: false,
      healthCheck: false,
      xfwd: false,
      trustedProxies: EVERYBODY,
      timeouts: this.#timeouts ?? {},
    })
    return proxy.on('error', (error, exchange) => (exchange?.context as Context | undefined)?.onEngineError(error))
  }

  /** Closes the connections to targets, unless a call still runs. Later calls get new ones. */
  close(): void {
    for (const [looks, proxy] of Object.entries(this.#proxies) as [Looks, Proxy][]) {
      if (proxy.stats().active > 0) continue
      delete this.#proxies[looks]
      void proxy.close()
    }
  }
}

/** Milliseconds; 0: no limit. Each silence counts, as with node's `request.setTimeout()`, which does not count connecting. */
function timeoutsOf(connect: number, silence: number): TimeoutOptions {
  return { connect, acquire: 0, headers: silence, idle: silence, total: 0, upgradeIdle: 0, intercept: 0 }
}
