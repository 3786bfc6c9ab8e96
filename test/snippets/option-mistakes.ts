import { createProxy, defineConfig } from 'heddle'

/*
 * Mistakes that the compiler must find. Nobody runs this file: if one of them compiles, this file does not.
 */

const url = 'http://127.0.0.1:3000'

export function mistakes(): void {
  // @ts-expect-error the option of the balancer is `by`
  createProxy({ target: url, balancer: { name: 'consistent-hash', byy: 'path' } })
  // @ts-expect-error another balancer has it
  createProxy({ target: url, balancer: { name: 'round-robin', by: 'path' } })
  // @ts-expect-error there is no such balancer
  createProxy({ target: url, balancer: { name: 'roundrobin' } })
  // @ts-expect-error the option of the interceptor is `encodings`
  createProxy({ target: url, routes: [{ interceptors: [{ name: 'compress', encoding: ['br'] }] }] })
  // @ts-expect-error it needs a url
  createProxy({ target: url, routes: [{ interceptors: [{ name: 'forward-auth' }] }] })
  // @ts-expect-error the option is `probe`
  createProxy({ target: url, healthCheck: { probes: {} } })
  // @ts-expect-error the option is `maxRetries`
  createProxy({ target: url, retry: { attempts: 2 } })
  // @ts-expect-error the option is `threads`
  defineConfig({ target: url, workers: 2 })
  // @ts-expect-error the option is `port`
  void createProxy({}).listen({ prot: 8080 })
}
