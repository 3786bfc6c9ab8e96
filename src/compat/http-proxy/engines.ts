import {
  type CallOverrides,
  createProxy,
  type Logger,
  type Proxy,
  type ProxyOptions,
  type TimeoutOptions,
} from '../../index.ts'
import type { Call } from './call.ts'
import { heads, responses } from './hooks.ts'
import type { ServerOptions } from './types.ts'

/** What http-proxy does not limit is not limited: the server in front has limits for requests, and node has none on connections. */
const UNLIMITED = {
  pool: { maxConnections: 100_000, maxWaiting: 100_000 },
  limits: { maxHeaders: 2000, maxTargetBytes: 65_536 },
} satisfies ProxyOptions

/** Forwarding headers are passed on as they come, whoever sends them. */
const EVERYBODY = ['0.0.0.0/0', '::/0', 'unix']

/** The proxies behind a `ProxyServer`, created on first use: one for calls without hooks, which cost nothing then, and one for the rest. */
export class Engines {
  readonly #logger: Logger
  #timeouts: TimeoutOptions | null = null
  #plain: Proxy | null = null
  #hooked: Proxy | null = null

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** The proxy for a call. Adds time limits to its `overrides` if they are not those of the first call. */
  get(isHooked: boolean, options: ServerOptions, overrides: CallOverrides): Proxy {
    const { connectTimeout = 0, proxyTimeout = 0 } = options
    this.#timeouts ??= timeoutsOf(connectTimeout, proxyTimeout)
    const { connect, headers } = this.#timeouts
    if (connect !== connectTimeout || headers !== proxyTimeout) {
      overrides.timeouts = timeoutsOf(connectTimeout, proxyTimeout)
    }
    if (isHooked) this.#hooked ??= this.#create([{ transforms: [heads], interceptors: [responses] }])
    else this.#plain ??= this.#create([])
    return (isHooked ? this.#hooked : this.#plain) as Proxy
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
    return proxy.on('error', (error, exchange) => (exchange?.context as Call<never> | undefined)?.onEngineError(error))
  }

  /** Closes the connections to targets, unless a call still runs. Later calls get new ones. */
  close(): void {
    const proxies = [this.#plain, this.#hooked].filter((proxy) => proxy !== null)
    if (proxies.some((proxy) => proxy.stats().active > 0)) return
    for (const proxy of proxies) void proxy.close()
    this.#plain = null
    this.#hooked = null
  }
}

/** Milliseconds; 0: no limit. Each silence counts, as with node's `request.setTimeout()`, which does not count connecting. */
function timeoutsOf(connect: number, silence: number): TimeoutOptions {
  return { connect, acquire: 0, headers: silence, idle: silence, total: 0, upgradeIdle: 0, intercept: 0 }
}
