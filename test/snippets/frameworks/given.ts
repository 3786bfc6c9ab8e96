import type { Server } from 'node:http'
import type { Proxy } from 'heddle'

/** What the snippets of this folder take as given. */
export interface Given {
  /** URL of the backend. */
  readonly target: string
  readonly port: number
  /** The folder of a page, for those that need one. */
  readonly root: string
}

export interface Started {
  readonly server: Server
  /** Empty: it closes with the server. */
  readonly proxies: readonly Proxy[]
  close(): unknown
}
