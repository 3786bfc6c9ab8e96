import { didYouMean } from '../runtime/nearest.ts'
import { CommandError } from './command-error.ts'
import { DEFAULTS } from './file-options.ts'

/** The output of `heddle --help`: at most 24 lines of 80 columns. */
const HELP = `heddle: a reverse proxy that balances load

  heddle [FLAGS]            serve, by the flags and the configuration file
  heddle check [FILE]       check the configuration; start nothing
  heddle demo               three small backends and a proxy, to try it out
  heddle help [TOPIC]       this (-h, --help), or more about file, listen, demo,
                            check, output or signals
  heddle version            print the version (-v, --version)

Flags override the file
  -b, --backend URL         http://host:3001, host:3001 or 3001 (this machine);
                            repeat it for each backend
  -l, --listen [HOST:]PORT  where to listen (default ${DEFAULTS.port}, on all addresses);
                            repeat it for each address
  -c, --config FILE         .json, .yaml, .js or .ts; by default heddle.config.*
                            of the current directory, if there is one
      --balancer NAME       power-of-two (default), least-connections, ...
      --threads N           number of threads, or auto (default ${DEFAULTS.threads})
      --access-log FORMAT   off, common, combined (default) or json
      --log-level LEVEL     debug, info (default), warn, error or silent

Example: heddle --listen 9000 --backend localhost:3001 --backend localhost:3002
`

/** What `heddle help TOPIC` prints. */
const TOPICS: Readonly<Record<string, string>> = {
  file: `The configuration file
  heddle.config.json, .jsonc, .yaml, .yml, .js, .mjs or .ts in the current
  directory, or the one named by --config. JSON may have comments. It holds the
  options of createProxy() (docs/configuration.md), and

  listen    where to listen; see heddle help listen
  threads   a number, "auto", or { "min": 1, "max": 4 }
  log       { "access": "combined", "level": "info" }
  $schema   "./node_modules/heddle/dist/schema.json": completion in editors

  The certificates and keys of backends (tls.ca, tls.cert, tls.key) are paths of
  PEM files, relative to the folder of the configuration file, or PEM text.
  heddle check reads and checks all of it, and shows where each mistake is.
`,
  listen: `Where to listen: a port, "HOST:PORT", an object, or a list of these
  9000                      on all addresses; port 0: any free port
  "127.0.0.1:9000"          on this machine only; IPv6 as "[::1]:9000"
  { "port": 443, "tls": { "cert": "site.pem", "key": "site-key.pem" } }
                            https; paths are relative to the folder of the file,
                            and files that have changed are used
  { "port": 443, "tls": { "certificates": [{ "cert": ..., "key": ... }, ...] } }
                            https with several names; further options of tls:
                            minVersion, clientAuth, reload, ticketRotationMs
  { "port": 9000, "protocols": ["h2", "http/1.1"] }
                            HTTP/2 as well, in clear text; https offers both
  { "port": 80, "redirect": "https" }
                            sends each request to the https listener (308)

  With threads, each address that serves has that number of threads of its own.
`,
  demo: `heddle demo
  Starts three small backends that differ in speed, and a proxy in front of them
  on port ${DEFAULTS.port} of this machine, or on a free one. It prints three commands to
  try: one shows balancing, one stops a backend, and one brings it back.
  On a terminal a table of the backends follows what happens, without colours if
  NO_COLOR is set. In a pipe, or with --access-log, there is a line for each
  request. With --backend or --config it serves those instead. It reads no
  configuration file that is not named.
`,
  output: `Output
  Standard output has the access log, one line for each exchange:
  --access-log off, common, combined or json.
  Standard error has diagnostics: lines for people on a terminal, else JSON.
  --log-level is the least severe level: debug, info, warn, error or silent.

Exit codes
  0 success, 1 failure while running, 2 wrong command line or configuration
`,
  signals: `Signals
  SIGTERM, SIGINT   stop listening, finish open exchanges within drainTimeoutMs,
                    exit 0; a second one: exit at once
  SIGHUP            look at the files of certificates now; the configuration
                    is read only at the start
`,
  check: `heddle check [FILE]
  Checks the configuration file and the flags, reads certificates and keys, and
  starts nothing. Prints one line, or all mistakes at once with file, line and
  column. Exit code 0: it can be served; 2: it cannot. Warnings (a certificate
  that has expired, a group without backends) leave the exit code at 0.
`,
}

/** The text for a topic, or the overview. @throws CommandError for an unknown topic. */
export function helpOn(topic: string | undefined): string {
  if (topic === undefined || topic === 'help' || topic === 'version') return HELP
  const text = Object.hasOwn(TOPICS, topic) ? TOPICS[topic] : undefined
  if (text !== undefined) return text
  const names = Object.keys(TOPICS)
  throw new CommandError(2, `no help about ${topic}${didYouMean(topic, names)}; topics: ${names.join(', ')}`)
}
