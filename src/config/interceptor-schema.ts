import * as v from 'valibot'
import type { Interceptor } from '../contracts/interceptor.ts'
import {
  addresses,
  compress,
  cors,
  errorPage,
  followRedirects,
  forwardAuth,
  rewriteCookies,
  rewriteLocation,
} from '../interceptors/index.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { nearest } from '../runtime/nearest.ts'
import type { InterceptorName } from './options.ts'
import { codeOr, contract, hasMethodOf, isPlainObject, wording } from './rules.ts'

/** The built-ins that data can describe. Each checks its own options, which code gives it, too. */
const BUILT_INS: Readonly<Record<InterceptorName, (options: never, clock: Clock) => Interceptor>> = {
  addresses,
  compress,
  cors,
  'error-page': errorPage,
  'follow-redirects': followRedirects,
  'forward-auth': forwardAuth,
  'rewrite-cookies': rewriteCookies,
  'rewrite-location': rewriteLocation,
}

const NAMES = Object.keys(BUILT_INS) as InterceptorName[]
const ALLOWED = `${NAMES.map((each) => `'${each}'`).join(', ')}, or { name, ...its options }, or an Interceptor with wrap()`
const EXAMPLE = { name: 'addresses', allow: ['private'] }

const byName = v.lazy((input) => {
  const likely = typeof input === 'string' ? nearest(input, NAMES) : null
  return v.picklist(NAMES, wording(ALLOWED, likely ?? EXAMPLE))
})

const withOptions = v.looseObject({ name: byName }, wording(ALLOWED, EXAMPLE))

const byNameOrOptions = v.lazy((input) => {
  if (input === undefined) return v.union([byName, withOptions], wording(ALLOWED, EXAMPLE))
  return v.pipe(
    isPlainObject(input) ? withOptions : byName,
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return
      const { name, ...options } = named(dataset.value as Named)
      const allowed = `the options of ${camelCase(name)}() in docs/interceptors.md`
      for (const fault of faultsIn(name, options)) {
        addIssue({ message: wording(allowed, { ...EXAMPLES[name], name }, `is wrong: ${fault}`) })
      }
    }),
  )
})

type Options = Readonly<Record<string, unknown>>

/**
 * The messages of all mistakes. The built-in throws at the first one; the options that cause it are then replaced by those of the
 * example, or left out, and it is asked again.
 */
function faultsIn(name: InterceptorName, options: Options): string[] {
  const faults: string[] = []
  const example: Options = { ...EXAMPLES[name] }
  let left = options
  for (let fault = faultIn(name, left); fault !== null; fault = faultIn(name, left)) {
    faults.push(fault)
    const replaced = (keys: readonly string[]): Options => {
      const kept = Object.entries(left).filter(([key]) => !keys.includes(key))
      return Object.fromEntries([...kept, ...Object.entries(example).filter(([key]) => keys.includes(key))])
    }
    const wrong = Object.keys(left).filter(
      (key) => left[key] !== example[key] && faultIn(name, replaced([key])) !== fault,
    )
    if (wrong.length === 0) break
    left = replaced(wrong)
  }
  return faults
}

function faultIn(name: InterceptorName, options: Options): string | null {
  try {
    BUILT_INS[name](options as never, systemClock)
    return null
  } catch (error) {
    return describeError(error)
  }
}

/** Correct options, by name. */
const EXAMPLES: Readonly<Record<InterceptorName, object>> = {
  addresses: { allow: ['private'] },
  compress: { encodings: ['br', 'gzip'] },
  cors: { origins: ['https://app.example'] },
  'error-page': { html: '<h1>{{status}} {{message}}</h1>' },
  'follow-redirects': { max: 5 },
  'forward-auth': { url: 'http://127.0.0.1:9091/verify', requestHeaders: ['Remote-User'] },
  'rewrite-cookies': { path: '/app' },
  'rewrite-location': { prefix: '/app' },
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}

type Named = InterceptorName | { readonly name: InterceptorName }

function named(wanted: Named): Exclude<Named, string> {
  return typeof wanted === 'string' ? { name: wanted } : wanted
}

/** An interceptor: by name, by name with options, or the application's own. */
export const interceptor = codeOr(
  (input) => hasMethodOf(input, ['wrap']),
  contract<Interceptor>('an Interceptor', ['wrap'], EXAMPLE),
  byNameOrOptions,
)

/** Creates the interceptor, unless it is the application's own. */
export function buildInterceptor(wanted: Interceptor | Named, clock: Clock): Interceptor {
  return typeof wanted === 'object' && 'wrap' in wanted ? (wanted as Interceptor) : make(wanted as Named, clock)
}

function make(wanted: Named, clock: Clock): Interceptor {
  const { name, ...options } = named(wanted)
  return BUILT_INS[name](options as never, clock)
}
