/** Bounds on what a client may send, with every default filled in; 0: none. The docs of the options say what each means. */
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
