import https from 'node:https'
import { certificate, key } from '../../support/certificates.ts'

export default https.createServer({ cert: certificate, key }, (_req, res) => res.end('secret'))
