import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce } from '../announce.js'
import { backends, isHttp2, isTls, isToHttp2, writeCertificate } from '../arguments.js'
import { freePort, runDaemon, temporaryFolder } from '../daemon.js'
import { findTool } from '../tools.js'

const tool = findTool('caddy')
const version = /\d[\d.]*\d/.exec(spawnSync(tool, ['version'], { encoding: 'latin1' }).stdout)?.[0] ?? ''
const port = await freePort()
const folder = temporaryFolder()
const config = join(folder, 'Caddyfile')
const scheme = isTls ? 'https' : 'http'
writeCertificate(folder)
// The idle connections are as many as the others keep: Caddy's own bound is 32 for each backend.
writeFileSync(
  config,
  `{
  admin off
  auto_https off
  log {
    level ERROR
  }
  servers {
    protocols ${isHttp2 ? (isTls ? 'h1 h2' : 'h1 h2c') : 'h1'}
  }
}
${scheme}://127.0.0.1:${port} {
  bind 127.0.0.1
  ${isTls ? `tls ${join(folder, 'cert.pem')} ${join(folder, 'key.pem')}` : ''}
  reverse_proxy ${backends.map((url) => new URL(url).host).join(' ')} {
    lb_policy round_robin
    transport http {
      ${isToHttp2 ? 'versions h2c 2' : ''}
      keepalive_idle_conns 1024
      keepalive_idle_conns_per_host 1024
    }
  }
}
`,
)
// One core, as the others; and nothing of the user's own Caddy is touched.
Object.assign(process.env, { GOMAXPROCS: '1', XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder })
const daemon = await runDaemon(tool, ['run', '--adapter', 'caddyfile', '--config', config], port)
announce({ port, pid: daemon.pid, version })
