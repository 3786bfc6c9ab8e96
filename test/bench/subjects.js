/**
 * Who is measured. `file` is the script in subjects/; `tool` the program it needs; `isOurs` makes its errors fail the run;
 * `isExtra` leaves it out unless it is asked for with `--subjects`.
 */
export const SUBJECTS = [
  { file: 'http-proxy-3', title: 'http-proxy-3 with a keep-alive agent' },
  { file: 'heddle', title: 'heddle, `proxy.web` in node:http', isOurs: true },
  { file: 'heddle-listen', title: 'heddle, `proxy.listen`', isOurs: true },
  { file: 'fast-proxy', title: 'fast-proxy with undici' },
  { file: 'haproxy', title: 'HAProxy, 1 thread', tool: 'haproxy' },
  { file: 'nginx', title: 'nginx, 1 worker', tool: 'nginx' },
  { file: 'heddle-1-thread', title: 'heddle, `proxy.listen`, 1 thread', isOurs: true, isExtra: true },
  { file: 'heddle-2-threads', title: 'heddle, `proxy.listen`, 2 threads', isOurs: true, isExtra: true },
  { file: 'httpxy', title: 'httpxy with a keep-alive agent', isExtra: true },
  { file: 'fastify-http-proxy', title: '@fastify/http-proxy', isExtra: true },
]

/** The yardstick: every CPU time is also given as a ratio to this subject's. */
export const YARDSTICK = 'http-proxy-3'
