import { type Channel, channel } from 'node:diagnostics_channel'
import type { Observer, ObserverHook } from '../contracts/observer.ts'

/** The channel of each hook; the message has the arguments of the hook by their names. */
const CHANNELS: Readonly<Record<ObserverHook, Channel>> = {
  onRequest: channel('heddle:request'),
  onAttempt: channel('heddle:attempt:start'),
  onAttemptEnd: channel('heddle:attempt:end'),
  onRetry: channel('heddle:retry'),
  onResponse: channel('heddle:response'),
  onUpgrade: channel('heddle:upgrade'),
  onError: channel('heddle:error'),
  onFinish: channel('heddle:finish'),
  onRefusal: channel('heddle:refusal'),
  onBackend: channel('heddle:backend'),
  onThread: channel('heddle:thread'),
  onClose: channel('heddle:close'),
}

/** Publishes to node's `diagnostics_channel`, for tools that have no proxy object. Costs nothing without a subscriber. */
export function diagnostics(proxy: string): Observer {
  const publish = (hook: ObserverHook, message: object): void => CHANNELS[hook].publish({ proxy, ...message })
  return {
    name: 'diagnostics-channel',
    wants: (hook) => CHANNELS[hook].hasSubscribers,
    onRequest: (exchange) => publish('onRequest', { exchange }),
    onAttempt: (attempt) => publish('onAttempt', { attempt }),
    onAttemptEnd: (attempt, outcome) => publish('onAttemptEnd', { attempt, outcome }),
    onRetry: (exchange, error, delayMs) => publish('onRetry', { exchange, error, delayMs }),
    onResponse: (exchange, status) => publish('onResponse', { exchange, status }),
    onUpgrade: (exchange, backend) => publish('onUpgrade', { exchange, backend }),
    onError: (error, exchange) => publish('onError', { error, exchange }),
    onFinish: (exchange, record) => publish('onFinish', { exchange, record }),
    onRefusal: (error, record) => publish('onRefusal', { error, record }),
    onBackend: (change) => publish('onBackend', { change }),
    onThread: (change) => publish('onThread', { change }),
    onClose: () => publish('onClose', {}),
  }
}
