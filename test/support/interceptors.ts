import type { Handler, Interceptor, ProxyOptions } from '../../src/index.ts'

/** What an interceptor does; `next` is what it stands before. */
export type Handle = (next: Handler, ...args: Parameters<Handler>) => void | Promise<void>

/** An interceptor of one function. */
export function interceptor(handle: Handle, name = 'test'): Interceptor {
  return {
    name,
    wrap:
      (next) =>
      (...args) =>
        handle(next, ...args) as Promise<void>,
  }
}

/** Options of a proxy for one backend, whose only route has these interceptors. */
export function through(
  backend: { readonly url: string },
  interceptors: Handle | Interceptor[],
  more: ProxyOptions = {},
): ProxyOptions {
  const list = typeof interceptors === 'function' ? [interceptor(interceptors)] : interceptors
  return { target: backend.url, healthCheck: false, retry: false, ...more, routes: [{ interceptors: list }] }
}

/** A flow of a response that needs none. */
export const NO_FLOW = { resume(): void {}, retain(): void {} }
