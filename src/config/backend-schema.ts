import * as v from 'valibot'
import { Backend } from '../model/backend.ts'
import { describeError } from '../runtime/describe-error.ts'
import { withoutPassword } from '../runtime/secrets.ts'
import { closed, codeOr, defaultsTo, flag, isObject, list, optional, text, word, wording } from './rules.ts'

/** A valid URL, for examples. */
export const EXAMPLE_URL = 'http://127.0.0.1:3000'
const BACKEND = `a URL such as ${EXAMPLE_URL}, https://host/prefix or http+unix:///path/to.sock`

/** Checks a URL by creating a backend from it. */
function usable<T extends string | URL>() {
  return v.rawCheck<T>(({ dataset, addIssue }) => {
    if (!dataset.typed) return
    try {
      new Backend(dataset.value)
    } catch (error) {
      addIssue({ message: wording(BACKEND, EXAMPLE_URL, `is invalid: ${withoutPassword(describeError(error))}`) })
    }
  })
}
const backendUrl = codeOr(
  (input) => input instanceof URL,
  v.pipe(v.instance(URL), usable()),
  v.pipe(v.string(wording(BACKEND, EXAMPLE_URL)), usable()),
)

const PEM = 'a certificate or key in PEM: a string that begins with -----BEGIN, or a Buffer'
const PEM_EXAMPLE = '-----BEGIN CERTIFICATE-----\n...'
// node ignores a `ca` that is not PEM, and every connection fails then. The value is not shown: it may be a key.
const pem = codeOr(
  Buffer.isBuffer,
  v.custom<Buffer>(Buffer.isBuffer),
  text(PEM, PEM_EXAMPLE, (value) =>
    value.includes('-----BEGIN ')
      ? null
      : 'is text that is not PEM; if it is the path of a file, give readFileSync(path)',
  ),
)
const pems = v.lazy((input) => {
  const several = list(pem, PEM, [PEM_EXAMPLE])
  return input === undefined ? v.union([pem, several]) : Array.isArray(input) ? several : pem
})

/** A name of the user's choice. */
export const name = text('a name of one character or more', 'api-1', (value) => (value === '' ? 'is empty' : null))

const WEIGHT = wording('a number from 0 to 1000000', 2)
const weight = v.pipe(v.number(WEIGHT), v.minValue(0, WEIGHT), v.maxValue(1_000_000, WEIGHT))

const metadata = v.lazy((input) =>
  input === undefined
    ? v.record(v.string(), v.unknown())
    : v.custom<Record<string, unknown>>(isObject, wording('an object', { zone: 'a' })),
)

const BACKEND_ENTRIES = {
  url: v.pipe(
    backendUrl,
    v.description('Address of the backend. A path in it is put before the path of each request.'),
  ),
  id: optional('Name of the backend in logs, events and metrics; unique in its group. By default its address.', name),
  weight: defaultsTo(
    'Share of the traffic in relation to the others; 0: no new requests.',
    weight,
    new Backend(EXAMPLE_URL).weight,
  ),
  protocol: defaultsTo(
    "The protocol to the backend: `'h2'` (HTTP/2; with `http://` by prior knowledge) or `'auto'` (with `https://` what the backend chooses, else HTTP/1.1). Upgrades (WebSocket) always go by HTTP/1.1.",
    word(['http/1.1', 'h2', 'auto']),
    new Backend(EXAMPLE_URL).endpoint.protocol,
  ),
  proxyProtocol: optional(
    "Begins each connection with a header of the PROXY protocol that names the client: `'v1'` or `'v2'`. A connection then carries requests of one client address only, so `pool.maxConnections` is used up sooner. Not with HTTP/2.",
    word(['v1', 'v2']),
  ),
  metadata: optional('Data of the application, for balancers and hooks of its own.', metadata),
  tls: optional(
    'TLS settings of an https: backend.',
    closed(
      {
        ca: optional(
          'Certificate authorities to trust in place of the built-in ones. In the configuration file PEM, or the path of a PEM file; so for `cert` and `key`.',
          pems,
        ),
        cert: optional('Client certificate to identify the proxy with.', pem),
        key: optional('Private key of `cert`.', pem),
        servername: optional("Server name to ask for (SNI) and to verify. By default the URL's host.", name),
        rejectUnauthorized: defaultsTo(
          '`false` accepts any certificate. Unsafe: anybody on the network can pose as the backend.',
          flag(true),
          true,
        ),
      },
      { example: { servername: 'backend.internal' } },
    ),
  ),
}
/** The names of a backend's options. */
export const BACKEND_KEYS: ReadonlySet<string> = new Set(Object.keys(BACKEND_ENTRIES))

const backendObject = closed(BACKEND_ENTRIES, {
  example: { url: EXAMPLE_URL, weight: 2 },
  or: `or ${BACKEND}`,
})

/** A backend: a URL, or an object with a URL. */
export const backend = v.lazy((input) => {
  if (input === undefined) return v.union([backendUrl, backendObject], wording(BACKEND, EXAMPLE_URL))
  return typeof input === 'string' || input instanceof URL ? backendUrl : backendObject
})

/** The output of {@link backend}. */
export type CheckedBackend = v.InferOutput<typeof backend>
