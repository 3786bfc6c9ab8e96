import type { AccessLogFormat, ProxyOptions } from './options.ts'

/** What a configuration file of the command contains: the options of `createProxy()`, and those of the command itself. */
export interface HeddleConfig extends ProxyOptions {
  /** Location of the JSON Schema, for editors. */
  $schema?: string | undefined
  /** Where to listen: a port, its digits, or `HOST:PORT`. A port without a host means all addresses. Default 8080. */
  listen?: number | string | undefined
  /** Number of threads, `auto` (one for each CPU), or bounds between which the number follows the load. Default 1. */
  threads?: number | 'auto' | { readonly min: number; readonly max: number } | undefined
  /** Output of the command. */
  log?:
    | {
        /** Format of the access log on standard output. Default `combined`. */
        readonly access?: AccessLogFormat | undefined
        /** Least severe level of the diagnostics on standard error. Default `info`. */
        readonly level?: 'debug' | 'info' | 'warn' | 'error' | 'silent' | undefined
      }
    | undefined
}

/** Returns the configuration as it is; for editors and compilers, which then know its type: `export default defineConfig({ ... })`. */
export function defineConfig(config: HeddleConfig): HeddleConfig {
  return config
}
