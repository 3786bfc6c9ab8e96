import { DEFAULTS } from './file-options.ts'

/** What `heddle --help` prints. */
export const HELP = `heddle: a reverse proxy that balances load

Usage
  heddle [flags]          proxy, as the flags and the configuration file say
  heddle demo [flags]     three small backends and a proxy in front of them, to try it out;
                          with --backend or --config it proxies those instead
  heddle check [FILE]     check the configuration and start nothing

Flags (they override the file)
  -c, --config FILE       .json, .js, .mjs or .ts; without it heddle.config.{json,js,mjs,ts}
                          of the current directory, where there is one
  -l, --listen [HOST:]PORT
                          where to listen: 9000, 127.0.0.1:9000, [::1]:9000; port 0: any free one
                          (default ${DEFAULTS.port} on all addresses; the demo: on 127.0.0.1)
  -b, --backend URL       a server to share the load; once for each
                          (in place of the file's backends outside of groups)
      --balancer NAME     power-of-two (default), least-connections, round-robin, random,
                          peak-ewma, consistent-hash or first-available
      --threads N         how many threads serve: a number (default ${DEFAULTS.threads}; the demo: 2), or auto
      --access-log FORMAT off, common, combined (default) or json: a line on standard output
                          for each exchange
      --log-level LEVEL   debug, info (default), warn, error or silent: diagnostics on
                          standard error
  -h, --help              print this
  -v, --version           print the version

The file holds the options of createProxy(), and
  listen                  a port, or "HOST:PORT"
  threads                 a number, "auto" or { "min": 1, "max": 4 }
  log                     { "access": FORMAT, "level": LEVEL }

Signals
  SIGTERM, SIGINT         stop listening, let exchanges finish, exit 0; a second one: exit at once
  SIGHUP                  ignored, with a line in the log: the configuration is read at the start

Exit codes
  0 done    1 failed while running    2 wrong command line or configuration

Examples
  heddle --listen 9000 --backend http://127.0.0.1:3001 --backend http://127.0.0.1:3002
  heddle check heddle.config.json
`
