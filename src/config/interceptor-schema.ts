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
import type { InterceptorName } from './options.ts'
import { codeOr, contract, hasMethodOf, isPlainObject, nearest, wording } from './rules.ts'

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

const named = v.lazy((input) => {
  if (input === undefined) return v.union([byName, withOptions], wording(ALLOWED, EXAMPLE))
  return v.pipe(
    isPlainObject(input) ? withOptions : byName,
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return
      try {
        make(dataset.value as Named, systemClock)
      } catch (error) {
        const { name } =
          typeof dataset.value === 'string' ? { name: dataset.value } : (dataset.value as { name: string })
        const allowed = `the options of ${camelCase(name)}() in docs/interceptors.md`
        addIssue({
          message: wording(
            allowed,
            { ...EXAMPLES[name as InterceptorName], name },
            `is wrong: ${describeError(error)}`,
          ),
        })
      }
    }),
  )
})

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

/** An interceptor: by name, by name with options, or the application's own. */
export const interceptor = codeOr(
  (input) => hasMethodOf(input, ['wrap']),
  contract<Interceptor>('an Interceptor', ['wrap'], EXAMPLE),
  named,
)

/** Creates the interceptor, unless it is the application's own. */
export function buildInterceptor(wanted: v.InferOutput<typeof interceptor>, clock: Clock): Interceptor {
  return typeof wanted === 'object' && 'wrap' in wanted ? (wanted as Interceptor) : make(wanted as Named, clock)
}

function make(wanted: Named, clock: Clock): Interceptor {
  const { name, ...options } = typeof wanted === 'string' ? { name: wanted } : wanted
  return BUILT_INS[name](options as never, clock)
}
