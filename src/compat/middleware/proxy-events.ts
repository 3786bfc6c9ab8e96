import { respondToError } from './error-response.ts'
import type { Plugin } from './types.ts'

type Listener = (...args: unknown[]) => unknown
type Told = Parameters<typeof respondToError>

/** Where the arguments of an event have the request; the response or socket follows it. */
const REQUEST_AT: Readonly<Record<string, number>> = {
  proxyReq: 1,
  proxyReqWs: 1,
  proxyRes: 1,
  start: 0,
  end: 0,
  econnreset: 1,
  error: 1,
}

/** Subscribes the listeners of the option `on`. If a promise of theirs rejects, that is an error of the request. */
export const proxyEventsPlugin: Plugin = (proxyServer, { on = {}, logger = console }) => {
  for (const [event, listener] of Object.entries(on)) {
    if (!listener) continue
    const fail = (error: unknown, args: unknown[]): void => {
      logger.error(error)
      const at = REQUEST_AT[event]
      if (at === undefined) return
      const [req, res] = args.slice(at) as [Told[1], Told[2]]
      // An error of the error listener does not go to that listener again.
      if (event === 'error') respondToError(args[0], req, res)
      else proxyServer.emit('error', error as Error, req, res as never)
    }
    proxyServer.on(event as 'open', (...args: unknown[]) => {
      const result = (listener as Listener)(...args)
      if (result instanceof Promise) result.catch((error: unknown) => fail(error, args))
    })
  }
}
