import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { certificate, key } from '../../dist/test/support/certificates.js'

// How a subject is started: `node test/bench/subjects/NAME.js [--tls] [--http2] [--to-http2] http://127.0.0.1:3001 ...`.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tls: { type: 'boolean', default: false },
    http2: { type: 'boolean', default: false },
    'to-http2': { type: 'boolean', default: false },
  },
})

/** The addresses to forward to. */
export const backends = positionals

/** The clients speak TLS. */
export const isTls = values.tls

/** The clients speak HTTP/2: over TLS by ALPN, otherwise by prior knowledge. */
export const isHttp2 = values.http2

/** The backends speak HTTP/2, by prior knowledge. */
export const isToHttp2 = values['to-http2']

/** For node's servers: their certificate, where the clients speak TLS; otherwise undefined. */
export const tls = isTls ? { cert: certificate, key } : undefined

/** The certificate and the key as files: `cert.pem`, `key.pem`, and both in `both.pem`. */
export function writeCertificate(folder) {
  const files = { 'cert.pem': certificate, 'key.pem': key, 'both.pem': certificate + key }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 })
}
