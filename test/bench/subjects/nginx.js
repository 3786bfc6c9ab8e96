import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce } from '../announce.js'
import { backends, isHttp2, isTls, isToHttp2, writeCertificate } from '../arguments.js'
import { freePort, runDaemon, temporaryFolder } from '../daemon.js'
import { nginxBuild, nginxConfig } from '../nginx-config.js'
import { findTool } from '../tools.js'

const tool = findTool('nginx')
const { version, configure } = nginxBuild(tool)
const folder = temporaryFolder()
const port = await freePort()
const servers = backends.map((url) => `server ${new URL(url).host};`)
writeCertificate(folder)
// Before 1.23.4 it did not speak TLS 1.3 unless told to.
const tlsConfig = `
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate ${join(folder, 'cert.pem')}; ssl_certificate_key ${join(folder, 'key.pem')};
`
// No temporary files: a body that does not fit into the buffers waits in the backend's socket, as with all the others. The
// buffers are as large as HAProxy's: with the 4 KiB that are the default a large answer costs four times as much.
const server = `
  upstream group { ${servers.join(' ')} keepalive 1024; keepalive_requests 1000000000; }
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port} backlog=4096 ${isTls ? 'ssl' : ''} ${isHttp2 ? 'http2' : ''};
    ${isTls ? tlsConfig : ''}
    ${isHttp2 ? 'http2_max_concurrent_streams 1000; ' : ''}
    location / {
      ${isToHttp2 ? 'grpc_pass grpc://group;' : 'proxy_pass http://group;'} proxy_http_version 1.1; proxy_max_temp_file_size 0;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;
      proxy_buffer_size 16k; proxy_buffers 16 16k;
    }
  }
`
writeFileSync(join(folder, 'nginx.conf'), nginxConfig(configure, server))
const daemon = await runDaemon(tool, ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], port)
announce({ port, pid: daemon.pid, version })
