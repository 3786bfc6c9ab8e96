/** Limits for clients, with all defaults filled in; 0: no limit. `LimitOptions` documents each of them. */
export interface Limits {
  readonly maxHeadBytes: number
  readonly maxHeaders: number
  readonly maxTargetBytes: number
  readonly maxBodyBytes: number
  readonly replayBytes: number
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly halfClose: 'respond' | 'abort'
  readonly maxRequestsPerConnection: number
  readonly headTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly minBodyBytesPerSecond: number
  readonly minReadBytesPerSecond: number
}
