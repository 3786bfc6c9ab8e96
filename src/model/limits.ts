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
  readonly maxConnectionAgeMs: number
  readonly headTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly minBodyBytesPerSecond: number
  readonly minReadBytesPerSecond: number
  readonly http2: Http2Limits
}

/** Limits for each connection of HTTP/2, with all defaults filled in. `Http2LimitOptions` documents each of them. */
export interface Http2Limits {
  readonly maxStreams: number
  readonly windowBytes: number
  readonly maxDemerits: number
}
