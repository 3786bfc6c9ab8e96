import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { domainToASCII } from 'node:url'
import { inspect } from 'node:util'
import { type AcmeOptions, type OptionFault, OptionsError } from '../index.ts'
import { didYouMean } from '../runtime/nearest.ts'
import { readPem } from '../runtime/pem.ts'
import { looksLikeKey, withoutPassword } from '../runtime/secrets.ts'

/** Checked options, with defaults. */
export interface ResolvedAcmeOptions {
  /** In lower case and ASCII. */
  readonly names: readonly string[]
  readonly email: string | null
  /** Absolute. */
  readonly folder: string
  /** URL. */
  readonly directory: string
  readonly challenge: 'tls-alpn-01' | 'http-01'
  readonly eab: { readonly keyId: string; readonly hmacKey: string } | null
  /** PEM. */
  readonly ca: string | null
}

/** The names of directories. */
export const DIRECTORIES: Readonly<Record<string, string>> = {
  letsencrypt: 'https://acme-v02.api.letsencrypt.org/directory',
  'letsencrypt-staging': 'https://acme-staging-v02.api.letsencrypt.org/directory',
}

/** The names of all options. */
const KNOWN = ['names', 'agreeToTerms', 'email', 'folder', 'directory', 'challenge', 'eab', 'ca']
const CHALLENGES = ['tls-alpn-01', 'http-01']

/** @throws OptionsError with every mistake. */
export function resolveAcmeOptions(options: AcmeOptions): ResolvedAcmeOptions {
  const faults: OptionFault[] = []
  const add = (path: string, message: string, value: unknown, allowed: string, example: unknown): void => {
    faults.push({ path: path === '' ? 'acme' : `acme.${path}`, message, value, allowed, example })
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    add('', `is ${shown(options)}`, options, `an object of ${KNOWN.join(', ')}`, EXAMPLE)
    throw new OptionsError(faults)
  }
  for (const key of Object.keys(options)) {
    if (!KNOWN.includes(key)) add(key, `is unknown${didYouMean(key, KNOWN)}`, undefined, KNOWN.join(', '), undefined)
  }
  const {
    agreeToTerms,
    email,
    folder = 'acme',
    directory = 'letsencrypt',
    challenge = 'tls-alpn-01',
    eab,
    ca,
  } = options
  if (agreeToTerms !== true) {
    const message = agreeToTerms === undefined ? 'is missing' : `is ${shown(agreeToTerms)}`
    const terms = "true, when you have read the authority's terms (https://letsencrypt.org/repository/) and agree"
    add('agreeToTerms', message, agreeToTerms, terms, true)
  }
  if (email !== undefined && !(isText(email) && /^[^\s@,]+@[^\s@,]+$/.test(email))) {
    add('email', `is ${shown(email)}`, email, 'one address', EXAMPLE.email)
  }
  if (!isText(folder)) add('folder', `is ${shown(folder)}`, folder, 'the path of a folder', '/var/lib/heddle/acme')
  const url = isText(directory) ? (DIRECTORIES[directory] ?? directory) : ''
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    const allowed = `${Object.keys(DIRECTORIES).join(', ')}, or an https URL`
    add('directory', `is ${shown(directory)}`, directory, allowed, 'letsencrypt-staging')
  }
  if (!CHALLENGES.includes(challenge)) {
    const advice = String(challenge) === 'dns-01' ? ', which is not supported' : ''
    add('challenge', `is ${shown(challenge)}${advice}`, challenge, CHALLENGES.join(' or '), 'http-01')
  }
  if (eab !== undefined && !isBinding(eab)) {
    const allowed = '{ keyId, hmacKey }, as the authority has given them'
    add('eab', `is ${shown(eab)}`, undefined, allowed, { keyId: 'kid-1', hmacKey: 'zWNDZM6eQGHW' })
  }
  const pem = ca === undefined ? null : isText(ca) ? readPem(ca, 'ca') : `is ${shown(ca)}`
  if (typeof pem === 'string') add('ca', pem, undefined, 'the path of a PEM file, or PEM text', 'certs/ca.pem')
  const names = namesOf(options.names, add)
  if (faults.length > 0) throw new OptionsError(faults)
  return {
    names,
    email: email ?? null,
    folder: resolve(folder),
    directory: url,
    challenge,
    eab: eab ?? null,
    ca: pem === null ? null : (pem as { text: string }).text,
  }
}

const EXAMPLE = { names: ['a.example'], email: 'admin@a.example', agreeToTerms: true }

type Add = (path: string, message: string, value: unknown, allowed: string, example: unknown) => void

function namesOf(given: unknown, add: Add): string[] {
  if (!Array.isArray(given) || given.length === 0) {
    const message = given === undefined ? 'is missing' : `is ${shown(given)}`
    add('names', message, given, 'a list of host names', EXAMPLE.names)
    return []
  }
  const names: string[] = []
  for (const [at, one] of given.entries()) {
    // It takes what follows a name in a URL away.
    const name = isText(one) && !/[/?#\\:@]/.test(one) ? domainToASCII(one).toLowerCase() : ''
    const fault = nameFault(one, name) ?? (names.includes(name) ? 'is there twice' : null)
    if (fault !== null)
      add(`names[${at}]`, `${fault}: ${shown(one)}`, one, 'host names, each of them once', 'a.example')
    names.push(name)
  }
  return names
}

/** Why no certificate can be ordered for a name; `null` if one can. @param name in ASCII; empty if it cannot be. */
function nameFault(given: unknown, name: string): string | null {
  if (!isText(given)) return 'is no host name'
  if (given.includes('*')) return 'is a wildcard, which needs the challenge dns-01, and that is not supported'
  if (isIP(given.replace(/^\[|\]$/g, '')) !== 0) return 'is an address, for which certificates cannot be ordered'
  const labels = name.split('.')
  const isName =
    name.length <= 253 && labels.every((label) => /^(?!-)[a-z0-9-]{1,63}$/.test(label) && !label.endsWith('-'))
  return isName && !/^\d+$/.test(labels.at(-1) as string) ? null : 'is no host name'
}

function isBinding(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { keyId, hmacKey, ...others } = value as Record<string, unknown>
  return isText(keyId) && isText(hmacKey) && /^[\w+/=-]+$/.test(hmacKey) && Object.keys(others).length === 0
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'string' && looksLikeKey(value)) return 'a key or a certificate'
  return withoutPassword(inspect(value, { maxStringLength: 100, breakLength: Infinity }))
}
