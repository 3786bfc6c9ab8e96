import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Plugin } from './types.ts'

type Listener = (...args: unknown[]) => unknown

/** Where the arguments of an event have the request, which the response or socket follows. */
const REQUEST_AT: Readonly<Record<string, number>> = {
  proxyReq: 1,
  proxyReqWs: 1,
  proxyRes: 1,
  start: 0,
  end: 0,
  econnreset: 1,
  error: 1,
}

/** Subscribes the listeners of the option `on`. */
export const proxyEventsPlugin: Plugin = (proxyServer, { on = {}, logger }) => {
  for (const [event, listener] of Object.entries(on)) {
    if (!listener) continue
    const emit = (error: unknown, args: unknown[]): void => {
      const at = REQUEST_AT[event]
      // Reporting an error of an error handler to that handler could go on for ever.
      if (at === undefined || event === 'error') logger?.error(error)
      else proxyServer.emit('error', error as Error, args[at] as IncomingMessage, args[at + 1] as ServerResponse)
    }
    proxyServer.on(event as 'open', (...args: unknown[]) => {
      const result = (listener as Listener)(...args)
      if (result instanceof Promise) result.catch((error: unknown) => emit(error, args))
    })
  }
}
