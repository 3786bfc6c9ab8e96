import http from 'node:http'
import https from 'node:https'
import { certificate } from '../../dist/test/support/certificates.js'

/** Throws unless the subject gives the backend's own answer: a fast 502 must not win a benchmark. */
export async function checkAnswer(subject, backend, scenario) {
  const [got, wanted] = await Promise.all([
    ask(subject.port, scenario),
    ask(backend.port, { ...scenario, isTls: false }),
  ])
  if (wanted.status !== 200) throw new Error(`the backend itself answers ${wanted.status}`)
  if (got.status !== 200 || !got.body.equals(wanted.body)) {
    throw new Error(`answers ${got.status} with ${got.body.length} bytes, the backend itself ${wanted.body.length}`)
  }
}

function ask(port, { path, bodyBytes, isTls }) {
  return new Promise((resolve, reject) => {
    const method = bodyBytes > 0 ? 'POST' : 'GET'
    const headers = bodyBytes > 0 ? { 'Content-Length': bodyBytes } : {}
    const options = { port, host: '127.0.0.1', path, method, headers, agent: false, timeout: 5000, ca: certificate }
    const request = (isTls ? https : http).request(options, (response) => {
      const chunks = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(chunks) }))
      response.on('error', reject)
    })
    request.on('timeout', () => request.destroy(new Error('gives no answer within 5 s')))
    request.on('error', reject)
    request.end(Buffer.alloc(bodyBytes, 'x'))
  })
}
