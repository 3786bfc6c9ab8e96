/** Numbers of RFC 9113. */

/** Frame types (section 6). */
export const FRAME = Object.freeze({
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
})

/** Flags of frames; ACK and END_STREAM are the same bit of different types. */
export const FLAG = Object.freeze({ ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 })

/** Settings (section 6.5.2; RFC 8441 section 3). */
export const SETTING = Object.freeze({
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
  ENABLE_CONNECT_PROTOCOL: 8,
})

/** Error codes (section 7). */
export const CODE = Object.freeze({
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
})

/** The name of an error code, for messages. */
export function codeName(code: number): string {
  return Object.entries(CODE).find(([, known]) => known === code)?.[0] ?? `code ${code}`
}

/** What a client sends first (section 3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

export const FRAME_HEAD_BYTES = 9
/** The largest frame that we take, which is also the smallest bound that a peer may set (section 4.2). */
export const MAX_FRAME_BYTES = 16_384
/** The largest bound of a frame that a peer may set. */
export const LARGEST_FRAME_BYTES = 16_777_215
/** Windows begin with this size (section 6.9.2). */
export const FIRST_WINDOW = 65_535
/** The largest window (section 6.9.1). */
export const LARGEST_WINDOW = 2 ** 31 - 1
/** The largest stream identifier. */
export const LARGEST_ID = 2 ** 31 - 1

/** Reads 32 bits without a sign. */
export function readUint32(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  )
}

/** Reads 31 bits, without the reserved one. */
export function readUint31(bytes: Buffer, at: number): number {
  return readUint32(bytes, at) & LARGEST_ID
}
