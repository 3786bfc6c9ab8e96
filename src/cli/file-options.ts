import type { FileOptions, ListenerOptions, ListenInput, Threads } from '../index.ts'
import { LONGEST_MS } from '../runtime/clock.ts'
import { portOf } from '../runtime/port.ts'

export type { FileOptions, ListenerOptions, ListenInput, Threads }

/** Levels of diagnostics, the most verbose first. */
export const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
/** One of {@link LEVELS}. */
export type Level = (typeof LEVELS)[number]

/** Formats of the access log. */
export const FORMATS = ['off', 'common', 'combined', 'json'] as const
/** One of {@link FORMATS}. */
export type Format = (typeof FORMATS)[number]

/** The defaults of the options that only the command has. */
export const DEFAULTS = Object.freeze({ port: 8080, threads: 1, access: 'combined', level: 'info' } as const)

/** An option of the command that `createProxy()` does not have: its check, its wording and its JSON Schema. */
interface FileOption<T> {
  /** @returns the parsed value, or `undefined` if it is invalid. */
  read(value: unknown): T | undefined
  readonly allowed: string
  readonly example: unknown
  readonly schema: object
}

/** Where to listen, as a short form: a port, or a string with or without a host. */
export interface Address {
  readonly port: number
  /** Default: all addresses. */
  readonly host?: string
}

/** Protocols that a listener may speak. */
export const PROTOCOLS = ['h2', 'http/1.1'] as const

const PORT_SCHEMA = { type: 'integer', minimum: 0, maximum: 65535 }
const PEM_FILE = 'Path of a PEM file, relative to the folder of this file, or the PEM text itself.'
/** Bounds of `ticketRotationMs`. */
export const ROTATION = Object.freeze({ min: 1000, max: LONGEST_MS })

const CERTIFICATE_SCHEMA = {
  cert: { description: `Certificate, with its intermediate ones. ${PEM_FILE}`, type: 'string', minLength: 1 },
  key: { description: `Private key of \`cert\`. ${PEM_FILE}`, type: 'string', minLength: 1 },
}
const ACME_SCHEMA = {
  description:
    'Orders certificates by ACME and renews them, besides `cert` and `key` or `certificates`. The package acme-client must be installed.',
  type: 'object',
  properties: {
    names: {
      description: 'Host names; each gets a certificate of its own.',
      type: 'array',
      minItems: 1,
      items: { type: 'string', minLength: 1 },
    },
    agreeToTerms: {
      description: 'You have read the terms of the authority, and agree: https://letsencrypt.org/repository/',
      const: true,
    },
    email: { description: 'Where the authority may write to. Default: nowhere.', type: 'string', minLength: 3 },
    folder: {
      description: 'Where certificates and the key of the account are kept, relative to the folder of this file.',
      type: 'string',
      minLength: 1,
      default: 'acme',
    },
    directory: {
      description: 'The authority: `letsencrypt`, `letsencrypt-staging` for trials, or the https URL of a directory.',
      type: 'string',
      default: 'letsencrypt',
    },
    challenge: {
      description:
        '`tls-alpn-01` needs this listener on port 443. `http-01` needs another one with `redirect` on port 80.',
      enum: ['tls-alpn-01', 'http-01'],
      default: 'tls-alpn-01',
    },
    eab: {
      description: 'Ties the account to one with the authority (external account binding).',
      type: 'object',
      properties: { keyId: { type: 'string', minLength: 1 }, hmacKey: { type: 'string', minLength: 1 } },
      required: ['keyId', 'hmacKey'],
      additionalProperties: false,
    },
    ca: { description: `Authorities of the directory's own certificate. ${PEM_FILE}`, type: 'string', minLength: 1 },
  },
  required: ['names', 'agreeToTerms'],
  additionalProperties: false,
}
const TLS_SCHEMA = {
  description: 'Serves https.',
  type: 'object',
  properties: {
    ...CERTIFICATE_SCHEMA,
    certificates: {
      description:
        'Several certificates, in place of `cert` and `key`. A client gets that of the name it asks for, or the first one.',
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        properties: {
          ...CERTIFICATE_SCHEMA,
          names: {
            description: 'Names that get it. Default: all its DNS names.',
            type: 'array',
            minItems: 1,
            items: { type: 'string', minLength: 1 },
          },
        },
        required: ['cert', 'key'],
        additionalProperties: false,
      },
    },
    acme: ACME_SCHEMA,
    minVersion: { description: 'Lowest version of TLS.', enum: ['TLSv1.2', 'TLSv1.3'] },
    clientAuth: {
      description: 'Asks clients for certificates.',
      type: 'object',
      properties: {
        ca: { description: `Authorities whose certificates count. ${PEM_FILE}`, type: 'string', minLength: 1 },
        mode: {
          description: '`require`: no connection without a certificate. `request`: the client may have none.',
          enum: ['request', 'require'],
        },
        header: { description: 'Backends get it in `Client-Cert` (RFC 9440).', type: 'boolean', default: true },
      },
      required: ['ca', 'mode'],
      additionalProperties: false,
    },
    reload: { description: 'Follow the files of certificates, every 10 s.', enum: ['watch', false], default: 'watch' },
    ticketRotationMs: {
      description: 'How long one key encrypts session tickets, ms.',
      type: 'integer',
      minimum: ROTATION.min,
      maximum: ROTATION.max,
      default: 43_200_000,
    },
  },
  anyOf: [{ required: ['cert', 'key'] }, { required: ['certificates'] }, { required: ['acme'] }],
  additionalProperties: false,
}
const LISTENER_SCHEMA = {
  anyOf: [
    PORT_SCHEMA,
    { type: 'string', pattern: '^(\\[[0-9A-Za-z:.%]+\\]:|[^:\\[\\]/\\s]*:)?\\d{1,5}$' },
    {
      type: 'object',
      properties: {
        port: { description: 'Port; 0: any free one.', ...PORT_SCHEMA },
        host: { description: 'Address to listen on. Default: all.', type: 'string', minLength: 1 },
        tls: TLS_SCHEMA,
        protocols: {
          description:
            'Protocols for clients. Default: both with `tls`, else `http/1.1` alone. In clear text, `h2` is by prior knowledge.',
          type: 'array',
          items: { enum: PROTOCOLS },
          minItems: 1,
        },
        redirect: { description: 'Sends every request to the first listener with `tls`, by 308.', const: 'https' },
        proxyProtocol: {
          description:
            'Addresses and ranges of load balancers whose connections begin with a header of the PROXY protocol, version 1 or 2. From them it is required; from others none is read.',
          type: 'array',
          items: { type: 'string', minLength: 1 },
          minItems: 1,
        },
      },
      required: ['port'],
      additionalProperties: false,
    },
  ],
}

/** Where to listen. {@link import('./listeners.ts').readListeners} reads lists and objects; this reads the short form. */
export const listen: FileOption<Address> = {
  read(value) {
    const port = portOf(value)
    if (port !== null) return { port }
    if (typeof value !== 'string') return undefined
    const [, bracketed, name, digits] = /^(?:\[([\da-fA-F:.%\w]+)\]|([^:[\]/\s]*)):(\d{1,5})$/.exec(value) ?? []
    const parsed = portOf(digits)
    const host = bracketed ?? name
    if (parsed === null) return undefined
    return host === undefined || host === '' || host === '*' ? { port: parsed } : { port: parsed, host }
  },
  allowed:
    'a port from 0 (any free one) to 65535, or HOST:PORT, with an IPv6 address in brackets, or { port, host, tls, protocols, redirect, proxyProtocol }, or a list of these',
  example: `127.0.0.1:${DEFAULTS.port}`,
  schema: {
    description:
      'Where to listen. A port without a host means all addresses; port 0 means any free port. A list: on each of these addresses.',
    anyOf: [...LISTENER_SCHEMA.anyOf, { type: 'array', items: LISTENER_SCHEMA }],
    default: DEFAULTS.port,
  },
}

/** How many threads: a number, `auto`, or bounds. */
export const threads: FileOption<Threads> = {
  read(value) {
    if (value === 'auto') return value
    const count = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
    if (isCount(count)) return count
    if (typeof count !== 'object' || count === null) return undefined
    const { min, max, ...rest } = count as Record<string, unknown>
    return isCount(min) && isCount(max) && min <= max && Object.keys(rest).length === 0 ? { min, max } : undefined
  },
  allowed: "a whole number from 1 to 1024, 'auto', or { min, max }",
  example: 'auto',
  schema: {
    description: 'Number of threads. `auto`: one for each CPU. `{ min, max }`: the number follows the load.',
    anyOf: [
      { type: 'integer', minimum: 1, maximum: 1024 },
      { const: 'auto' },
      {
        type: 'object',
        properties: {
          min: { type: 'integer', minimum: 1, maximum: 1024 },
          max: { type: 'integer', minimum: 1, maximum: 1024 },
        },
        required: ['min', 'max'],
        additionalProperties: false,
      },
    ],
    default: DEFAULTS.threads,
  },
}

/** The access log's format. */
export const access: FileOption<Format> = {
  read: (value) => FORMATS.find((format) => format === value),
  allowed: FORMATS.join(', '),
  example: 'json',
  schema: {
    description: 'Format of the access log: one line on standard output for each exchange.',
    enum: FORMATS,
    default: DEFAULTS.access,
  },
}

/** Least severe level of the diagnostics. */
export const level: FileOption<Level> = {
  read: (value) => LEVELS.find((each) => each === value),
  allowed: LEVELS.join(', '),
  example: 'warn',
  schema: {
    description: 'Least severe level of the diagnostics on standard error.',
    enum: LEVELS,
    default: DEFAULTS.level,
  },
}

/** JSON Schema of the file's options that `createProxy()` does not have. */
export const fileProperties: Readonly<Record<string, object>> = {
  $schema: { type: 'string', description: 'Location of this schema, for editors.' },
  listen: listen.schema,
  threads: threads.schema,
  log: {
    description: 'Output of the command.',
    type: 'object',
    properties: { access: access.schema, level: level.schema },
    additionalProperties: false,
  },
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 1024
}
