import type { ListenCertificate, ListenTls } from '../contracts/executor.ts'
import type { AcmeOptions } from './acme-options.ts'
import type { AccessLogFormat, ProxyOptions } from './options.ts'

/** The options of a configuration file that `createProxy()` does not have. */
export interface FileOptions {
  /** Location of the JSON Schema, for editors. */
  $schema?: string | undefined
  /** Where to listen. Default 8080, on all addresses. */
  listen?: ListenInput | readonly ListenInput[] | undefined
  /** Number of threads, `auto` (one for each CPU), or bounds between which the number follows the load. Default 1. */
  threads?: Threads | undefined
  /** Output of the command. */
  log?:
    | {
        /** Format of the access log, on standard output. Default `combined`. */
        access?: AccessLogFormat | undefined
        /** Least severe level of the diagnostics, on standard error. Default `info`. */
        level?: 'debug' | 'info' | 'warn' | 'error' | 'silent' | undefined
      }
    | undefined
}

/** Number of threads. */
export type Threads = number | 'auto' | { readonly min: number; readonly max: number }

/** One address to listen on: a port, `HOST:PORT`, or an object. */
export type ListenInput = number | string | ListenerOptions

/** An address to listen on, with its options. */
export interface ListenerOptions {
  /** 0: any free port. */
  readonly port: number
  /** Default: all addresses. */
  readonly host?: string | undefined
  /**
   * Serves `https:`, with one certificate or several, or with those that are ordered by ACME. Paths of PEM files, relative to the folder of the configuration file, or PEM
   * texts.
   */
  readonly tls?:
    | (Omit<ListenTls, 'certificates'> & { readonly acme?: AcmeOptions | undefined } & (
          | { readonly cert: string; readonly key: string }
          | { readonly certificates: readonly ListenCertificate[] }
          | { readonly acme: AcmeOptions }
        ))
    | undefined
  /** Protocols for clients. Default: `['h2', 'http/1.1']` with `tls`, else `['http/1.1']`. */
  readonly protocols?: readonly ('h2' | 'http/1.1')[] | undefined
  /** Sends every request to the first listener with `tls`, by 308. */
  readonly redirect?: 'https' | undefined
  /** Addresses and ranges of load balancers whose connections begin with a header of the PROXY protocol, version 1 or 2. */
  readonly proxyProtocol?: readonly string[] | undefined
}

/** What a configuration file of the command contains: the options of `createProxy()`, and those of the command itself. */
export interface HeddleConfig extends ProxyOptions, FileOptions {}

/** Returns the configuration as it is; for editors and compilers, which then know its type: `export default defineConfig({ ... })`. */
export function defineConfig(config: HeddleConfig): HeddleConfig {
  return config
}
