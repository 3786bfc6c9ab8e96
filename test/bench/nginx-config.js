import { spawnSync } from 'node:child_process'

/** What `nginx -V` says: its version, and how it was built. */
export function nginxBuild(tool) {
  const { stderr } = spawnSync(tool, ['-V'], { encoding: 'latin1' })
  return { version: /nginx\/(\S+)/.exec(stderr)?.[1] ?? '', configure: stderr }
}

/** One process, in the foreground, writing nowhere but into its own folder, with `body` inside the http block. */
export function nginxConfig(configure, body) {
  const modules = ['fastcgi', 'uwsgi', 'scgi'].filter((name) => !configure.includes(`--without-http_${name}_module`))
  const folders = ['client_body', 'proxy', ...modules].map((name) => `${name}_temp_path tmp-${name};`)
  return `
    daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr warn;
    events { worker_connections 12000; }
    http {
      access_log off; default_type application/json; tcp_nodelay on; sendfile on;
      keepalive_timeout 75s; keepalive_requests 1000000000; client_body_buffer_size 64k;
      ${folders.join(' ')}
      ${body}
    }
  `
}
