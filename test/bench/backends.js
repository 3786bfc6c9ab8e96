import { writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { announce, endWithParent } from './announce.js'
import { freePort, runDaemon, temporaryFolder } from './daemon.js'
import { nginxBuild, nginxConfig } from './nginx-config.js'
import { findTool } from './tools.js'

// One backend: nginx where it is installed, node:http otherwise. Run twice, by start.js. With `--http2` it speaks HTTP/2 by prior
// knowledge, which needs nginx.

const isHttp2 = process.argv.includes('--http2')

/** 115 bytes. */
const ANSWER = JSON.stringify({
  message: 'Hello from the backend',
  items: [1, 2, 3, 4, 5],
  note: 'a small answer, as an API might give it right now',
})
const BODIES = { '16k': Buffer.alloc(16_384, 'k'), '1m': Buffer.alloc(1_048_576, 'm') }

const tool = findTool('nginx')
if (tool === null && isHttp2) throw new Error('nginx is not installed')
announce(tool === null ? await withNode() : await withNginx(tool))

async function withNginx(tool) {
  const folder = temporaryFolder()
  for (const [name, body] of Object.entries(BODIES)) writeFileSync(join(folder, name), body)
  const port = await freePort()
  const { version, configure } = nginxBuild(tool)
  // Server side includes, of which there are none in the file, make its length unknown, and so the answer chunked.
  // A bare `return` would answer before it has read a posted body; `mirror` reads it first, as an application does. The
  // file has to be there to be refused with 405.
  writeFileSync(join(folder, 'post'), '')
  const server = `
    open_file_cache max=10;
    server {
      listen 127.0.0.1:${port} backlog=4096 ${isHttp2 ? 'http2' : ''};
      root ${folder};
      location = / { return 200 '${ANSWER}'; }
      location = /chunked { alias ${folder}/16k; ssi on; ssi_types *; output_buffers 1 2k; postpone_output 0; }
      location = /post { mirror /drop; error_page 405 = @answer; }
      location = /drop { internal; return 204; }
      location @answer { return 200 '${ANSWER}'; }
    }
  `
  writeFileSync(join(folder, 'nginx.conf'), nginxConfig(configure, server))
  const daemon = await runDaemon(tool, ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], port)
  return { port, pid: daemon.pid, version: `nginx ${version}` }
}

async function withNode() {
  endWithParent()
  const server = http.createServer((req, res) => {
    const body = BODIES[req.url.slice(1)] ?? ANSWER
    const answer = () => {
      if (req.url === '/chunked') return answerInChunks(res)
      res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) })
      res.end(body)
    }
    if (req.method === 'POST') req.on('end', answer).resume()
    else answer()
  })
  server.keepAliveTimeout = 75_000
  await new Promise((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  return { port: server.address().port, version: `node:http ${process.version}` }
}

function answerInChunks(res) {
  for (let from = 0; from < 16_384; from += 2048) res.write(BODIES['16k'].subarray(from, from + 2048))
  res.end()
}
