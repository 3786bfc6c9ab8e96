import { buildInterceptor } from '../config/interceptor-schema.ts'
import { checkOverrides } from '../config/overrides-schema.ts'
import type { Interceptor } from '../contracts/interceptor.ts'
import type { Transform } from '../contracts/transform.ts'
import { destinationNamed, type ExchangeCall, withDestination } from '../exchange/call.ts'
import { compose } from '../exchange/intercept.ts'
import type { Core } from '../exchange/services.ts'
import type { Destination, Route } from '../exchange/snapshot.ts'
import { hookError, ProxyError } from '../model/errors.ts'
import type { PathReading } from '../model/path.ts'
import { withoutUndefined } from '../runtime/complete.ts'
import { describeError } from '../runtime/describe-error.ts'
import { requestHeaders, responseHeaders } from '../transforms/index.ts'
import type { ProxyGroups } from './assemble.ts'
import type { CallOverrides, WebOverrides } from './types.ts'

/** What the overrides of one call mean. Never throws: a mistake in them fails only this exchange. */
export function resolveOverrides(
  core: Core,
  groups: ProxyGroups,
  overrides: CallOverrides,
  kind: 'web' | 'ws',
): ExchangeCall {
  const { onError, context } = overrides
  try {
    checkOverrides(overrides, kind)
    const { hostHeader, path, timeouts } = overrides
    const interceptors = (overrides.interceptors ?? []).map((one) => buildInterceptor(one, core.services.clock))
    const destination = destinationOf(groups, core, overrides)
    const transforms = transformsOf(core, overrides)
    const routeFor = (found: Route | null) => routeOf(found, destination, transforms, interceptors)
    const times = timeouts && withoutUndefined(timeouts)
    return { routeFor, path, hostHeader, timeouts: times, context, onError }
  } catch (error) {
    return { fault: faultOf(kind, error), context, onError: typeof onError === 'function' ? onError : undefined }
  }
}

function faultOf(kind: 'web' | 'ws', error: unknown): ProxyError {
  return new ProxyError('ERR_PROXY_HOOK', `the overrides of proxy.${kind}: ${describeError(error)}`)
}

/** A route that matches everything, without its destination. */
const EVERYTHING = {
  ...{ host: '', path: '/', exact: false, methods: [] },
  ...{ transforms: [], ownTimeouts: {}, interceptors: [], handler: null },
}

/** The route that was found, with the changes of a call. @returns `null` if there is neither a route nor a destination. */
function routeOf(
  found: Route | null,
  destination: Destination | undefined,
  transforms: readonly Transform[],
  interceptors: readonly Interceptor[],
): Route | ProxyError | null {
  const route = found ?? (destination === undefined ? null : { ...EVERYTHING, ...destination })
  if (route === null) return null
  try {
    return {
      ...(destination === undefined ? route : withDestination(route, destination)),
      transforms: transforms.length === 0 ? route.transforms : [...route.transforms, ...transforms],
      handler: interceptors.length === 0 ? route.handler : compose([...route.interceptors, ...interceptors]),
    }
  } catch (thrown) {
    return hookError('an interceptor', thrown)
  }
}

function destinationOf(groups: ProxyGroups, { snapshot }: Core, overrides: CallOverrides): Destination | undefined {
  const { target, group } = overrides
  if (target !== undefined) {
    return groups.target(typeof target === 'string' || target instanceof URL ? { url: String(target) } : target)
  }
  return group === undefined ? undefined : destinationNamed(snapshot, group)
}

function transformsOf({ snapshot }: Core, overrides: WebOverrides): readonly Transform[] {
  const { path, method, headers, responseHeaders: response, transforms = NONE } = overrides
  const own: Transform[] = []
  if (path !== undefined) own.push(sendPath(snapshot.router.confine(path)))
  if (method !== undefined) own.push(sendMethod(method))
  if (headers !== undefined) own.push(requestHeaders(headers))
  if (response !== undefined) own.push(responseHeaders(response))
  return own.length === 0 ? transforms : [...own, ...transforms]
}

/** @throws TypeError if backends could read the path in a way that leads out of a prefix. */
function sendPath({ path, fault }: PathReading): Transform {
  if (fault !== null) throw new TypeError(`path has ${fault}`)
  return {
    name: 'path',
    request(request) {
      request.path = path
    },
  }
}

function sendMethod(method: string): Transform {
  return {
    name: 'method',
    request(request) {
      request.method = method
    },
  }
}

const NONE: readonly Transform[] = []

/** Whether the argument can be overrides. A framework may pass its own argument in that position, such as `next`. */
export function isOverrides<Overrides extends CallOverrides>(given: Overrides | undefined): given is Overrides {
  return typeof given === 'object' && given !== null
}
