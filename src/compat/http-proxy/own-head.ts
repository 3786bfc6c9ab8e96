import type { ServerResponse } from 'node:http'

/** Sends another reason than the target's, and no length that would not hold: the body is then sent in chunks. */
export function changeHead(res: ServerResponse, reason: string | null, hasOtherLength: boolean): void {
  const writeHead = res.writeHead as (status: number, ...rest: unknown[]) => ServerResponse
  Object.assign(res, {
    writeHead(status: number, ...rest: unknown[]): ServerResponse {
      if (hasOtherLength) res.removeHeader('content-length')
      return reason === null ? writeHead.call(res, status, ...rest) : writeHead.call(res, status, reason)
    },
  })
}

/** Leaves out the target's head: the application has written one, and the body follows it. */
export function keepHead(res: ServerResponse): void {
  Object.assign(res, { writeHead: () => res, setHeader: () => res, appendHeader: () => res, removeHeader() {} })
  Object.defineProperty(res, 'headersSent', { value: false })
}
