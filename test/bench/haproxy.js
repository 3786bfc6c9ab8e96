import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce } from './announce.js'
import { backends, isHttp2, isTls, isToHttp2, writeCertificate } from './arguments.js'
import { freePort, runDaemon, temporaryFolder } from './daemon.js'
import { findTool } from './tools.js'

/** Runs HAProxy in front of the backends, with that many threads. */
export async function runHaproxy(threads) {
  const tool = findTool('haproxy')
  const version = /version (\d[\d.]*\d)/.exec(spawnSync(tool, ['-v'], { encoding: 'latin1' }).stdout)?.[1] ?? ''
  const port = await freePort()
  const folder = temporaryFolder()
  const config = join(folder, 'haproxy.cfg')
  const servers = backends.map(
    (url, index) => `  server backend${index} ${new URL(url).host}${isToHttp2 ? ' proto h2' : ''}`,
  )
  writeCertificate(folder)
  // It counts two file descriptors for every client; those that idle have one. Hence no strict limits.
  writeFileSync(
    config,
    `global
  nbthread ${threads}
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend front
  bind 127.0.0.1:${port} backlog 4096 ${isTls ? `ssl crt ${join(folder, 'both.pem')}` : ''} ${isHttp2 ? (isTls ? 'alpn h2' : 'proto h2') : ''}
  default_backend group
backend group
  balance roundrobin
${servers.join('\n')}
`,
  )
  // -db: one process in the foreground, whatever the configuration says.
  const daemon = await runDaemon(tool, ['-db', '-f', config], port)
  announce({ port, pid: daemon.pid, version })
}
