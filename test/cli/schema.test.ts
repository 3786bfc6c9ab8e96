import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { directory } from './command.ts'

const SCRIPT = fileURLToPath(new URL('../tools/write-schema.js', import.meta.url))

test('the schema has no references or code, and describes each option', (t) => {
  const schema = writeSchema(directory(t))
  const text = JSON.stringify(schema)
  assert.doesNotMatch(text, /\$ref|\$defs|"not"/)
  const properties = schema.properties as Record<string, Schema>
  for (const codeOnly of ['clock']) assert.ok(!(codeOnly in properties))
  for (const [name, property] of Object.entries(properties)) assert.equal(typeof property.description, 'string', name)
  assert.equal((properties.xfwd as Schema).default, true)
})

test('the schema has defaults for time limits, except inherited ones', (t) => {
  const { properties } = writeSchema(directory(t)) as { properties: Record<string, JsonObject> }
  assert.equal(properties.timeouts?.properties?.connect?.default, 5000)
  assert.equal(properties.routes?.items?.properties?.timeouts?.properties?.connect?.default, undefined)
  assert.ok(properties.routes?.items?.properties?.timeouts?.properties?.connect?.description)
})

const PAIR = { cert: 'site.pem', key: 'site-key.pem' }
const LISTENER = { port: 443, host: '::', tls: PAIR }
const NAMED = {
  certificates: [PAIR, { ...PAIR, names: ['a.example'] }],
  minVersion: 'TLSv1.3',
  clientAuth: { ca: 'ca.pem', mode: 'require', header: false },
  reload: false,
  ticketRotationMs: 60_000,
}

test('the schema accepts valid configurations', (t) => {
  const schema = writeSchema(directory(t))
  const right = [
    { target: 'http://127.0.0.1:3000' },
    { target: 'http://127.0.0.1:3000', listen: [LISTENER, { port: 444, tls: NAMED }] },
    {
      $schema: './node_modules/heddle/dist/schema.json',
      listen: '[::1]:8080',
      threads: { min: 1, max: 4 },
      log: { access: 'json', level: 'warn' },
      backends: ['http://a', { url: 'https://b', weight: 0.5, id: 'b', metadata: { any: [1] }, tls: { ca: ['x'] } }],
      balancer: { name: 'consistent-hash', by: { cookie: 'session' }, boundedLoad: 0 },
      healthCheck: false,
      retry: { maxRetries: 0 },
      pool: { maxConnections: 10 },
      groups: { api: { target: 'http://c', balancer: 'peak-ewma', timeouts: { idle: 0 } } },
      routes: [
        {
          path: '/api',
          group: 'api',
          method: ['GET'],
          stripPrefix: '/api',
          requestHeaders: { set: { a: 'b' }, remove: ['c'] },
        },
      ],
      trustedProxies: ['loopback'],
      accessLog: 'common',
      logger: 'silent',
      limits: { maxBodyBytes: 1000 },
    },
  ]
  for (const config of right) assert.deepEqual(faults(schema, config), [])
  for (const listen of [0, '127.0.0.1:80', { port: 80 }, { port: 80, redirect: 'https' }, [80, LISTENER]]) {
    assert.deepEqual(faults(schema, { target: 'http://a', listen }), [], JSON.stringify(listen))
  }
})

test('the schema rejects invalid ones, with the path', (t) => {
  const schema = writeSchema(directory(t))
  const wrong: [config: object, path: string][] = [
    [{ routs: [] }, '/routs'],
    [{ backends: 'http://a' }, '/backends'],
    [{ backends: [{ weight: 1 }] }, '/backends/0'],
    [{ backends: [{ url: 'http://a', weight: -1 }] }, '/backends/0'],
    [{ balancer: 'best' }, '/balancer'],
    [{ balancer: { name: 'random', decayMs: 1 } }, '/balancer'],
    [{ timeouts: { idle: -1 } }, '/timeouts/idle'],
    [{ timeouts: { idle: 1.5 } }, '/timeouts/idle'],
    [{ timeouts: { idel: 1 } }, '/timeouts/idel'],
    [{ routes: [{ exact: 'yes' }] }, '/routes/0/exact'],
    [{ routes: [{ transforms: [] }] }, '/routes/0/transforms'],
    [{ retry: true }, '/retry'],
    [{ listen: 99_999 }, '/listen'],
    [{ listen: 'here' }, '/listen'],
    [{ listen: { host: 'a' } }, '/listen'],
    [{ listen: { port: 80, prot: 1 } }, '/listen'],
    [{ listen: { port: 80, redirect: 'http' } }, '/listen'],
    [{ listen: { port: 443, tls: { cert: 'a.pem' } } }, '/listen'],
    [{ listen: { port: 443, tls: { certificates: [] } } }, '/listen'],
    [{ listen: { port: 443, tls: { ...LISTENER.tls, clientAuth: { ca: 'a.pem' } } } }, '/listen'],
    [{ listen: [80, 'here'] }, '/listen'],
    [{ threads: 0 }, '/threads'],
    [{ log: { level: 'loud' } }, '/log/level'],
    [{ clock: {} }, '/clock'],
  ]
  for (const [config, path] of wrong) assert.deepEqual(faults(schema, config), [path], JSON.stringify(config))
})

test('the examples match the schema', (t) => {
  const schema = writeSchema(directory(t))
  const examples = existsSync('examples') ? readdirSync('examples', { recursive: true, encoding: 'utf8' }) : []
  for (const name of examples.filter(
    (each) => /heddle\.config.*\.json$/.test(each) && !each.includes('node_modules'),
  )) {
    assert.deepEqual(faults(schema, JSON.parse(readFileSync(join('examples', name), 'utf8'))), [], name)
  }
})

type Schema = Readonly<Record<string, unknown>>

interface JsonObject {
  readonly default?: unknown
  readonly description?: string
  readonly properties?: Readonly<Record<string, JsonObject>>
  readonly items?: JsonObject
}

function writeSchema(folder: string): Schema {
  const outfile = join(folder, 'new', 'schema.json')
  execFileSync(process.execPath, [SCRIPT, outfile])
  return JSON.parse(readFileSync(outfile, 'utf8'))
}

/** Where `value` is not what `schema` says: as much of JSON Schema as ours uses. Throws for a keyword that it does not know. */
function faults(schema: Schema, value: unknown, at = ''): string[] {
  return Object.entries(schema).flatMap(([keyword, rule]) => faultsBy(schema, keyword, rule, value, at))
}

function faultsBy(schema: Schema, keyword: string, rule: unknown, value: unknown, at: string): string[] {
  const claim = (isRight: boolean): string[] => (isRight ? [] : [at])
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  const entries = isObject ? Object.entries(value) : []
  switch (keyword) {
    case '$schema':
    case 'title':
    case 'description':
    case 'default':
      return []
    case 'type':
      if (rule === 'object') return claim(isObject)
      if (rule === 'array') return claim(Array.isArray(value))
      if (rule === 'integer') return claim(Number.isInteger(value))
      return claim(typeof value === rule)
    case 'enum':
      return claim((rule as unknown[]).includes(value))
    case 'const':
      return claim(rule === value)
    case 'minimum':
      return claim(typeof value !== 'number' || value >= (rule as number))
    case 'maximum':
      return claim(typeof value !== 'number' || value <= (rule as number))
    case 'minItems':
      return claim(!Array.isArray(value) || value.length >= (rule as number))
    case 'minLength':
      return claim(typeof value !== 'string' || value.length >= (rule as number))
    case 'pattern':
      return claim(typeof value !== 'string' || new RegExp(rule as string, 'u').test(value))
    case 'anyOf':
      return claim((rule as Schema[]).some((each) => faults(each, value, at).length === 0))
    case 'items':
      return Array.isArray(value) ? value.flatMap((each, i) => faults(rule as Schema, each, `${at}/${i}`)) : []
    case 'required':
      return claim(!isObject || (rule as string[]).every((key) => key in value))
    case 'properties': {
      const known = rule as Record<string, Schema>
      return entries.flatMap(([key, each]) =>
        Object.hasOwn(known, key) ? faults(known[key] ?? {}, each, `${at}/${key}`) : [],
      )
    }
    case 'propertyNames':
      return entries.flatMap(([key]) => faults(rule as Schema, key, `${at}/${key}`))
    case 'additionalProperties': {
      const known = Object.keys((schema.properties as object | undefined) ?? {})
      const others = entries.filter(([key]) => !known.includes(key))
      return others.flatMap(([key, each]) =>
        rule === false ? [`${at}/${key}`] : faults(rule as Schema, each, `${at}/${key}`),
      )
    }
    default:
      throw new TypeError(`unknown keyword ${keyword}`)
  }
}
