import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { certificate } from '../../dist/test/support/certificates.js'

/** Throws unless the subject gives the backend's own answer: a fast 502 must not win a benchmark. */
export async function checkAnswer(subject, backend, scenario) {
  const [got, wanted] = await Promise.all([
    ask(subject.port, scenario),
    ask(backend.port, { ...scenario, isTls: false, isHttp2: scenario.isToHttp2 }),
  ])
  if (wanted.status !== 200) throw new Error(`the backend itself answers ${wanted.status}`)
  if (got.status !== 200 || !got.body.equals(wanted.body)) {
    throw new Error(`answers ${got.status} with ${got.body.length} bytes, the backend itself ${wanted.body.length}`)
  }
}

async function askHttp2(port, { path, bodyBytes, isTls, headers = [] }) {
  const session = http2.connect(`${isTls ? 'https' : 'http'}://127.0.0.1:${port}`, { ca: certificate })
  session.on('error', () => {})
  try {
    const pairs = headers.map((header) => header.split(': '))
    const stream = session.request({
      ':path': path,
      ':method': bodyBytes > 0 ? 'POST' : 'GET',
      ...Object.fromEntries(pairs),
    })
    stream.setTimeout(5000, () => stream.destroy(new Error('gives no answer within 5 s')))
    stream.end(bodyBytes > 0 ? Buffer.alloc(bodyBytes, 0) : undefined)
    const [head] = await once(stream, 'response')
    return { status: head[':status'], body: Buffer.concat(await stream.toArray()) }
  } finally {
    session.destroy()
  }
}

function ask(port, scenario) {
  return scenario.isHttp2 ? askHttp2(port, scenario) : askHttp1(port, scenario)
}

function askHttp1(port, { path, bodyBytes, isTls }) {
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
