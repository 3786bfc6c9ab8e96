import { DEFAULTS } from './file-options.ts'

/** The output of `heddle --help`. */
export const HELP = `heddle: a reverse proxy that balances load

Usage
  heddle [flags]          start a proxy with the flags and the configuration file
  heddle demo [flags]     start three small backends and a proxy in front of them;
                          with --backend or --config, proxy to those instead
  heddle check [FILE]     check the configuration without starting anything

Flags override the file
  -c, --config FILE       .json, .js, .mjs or .ts; default: heddle.config.{json,js,mjs,ts}
                          in the current directory, if it exists
  -l, --listen [HOST:]PORT
                          where to listen: 9000, 127.0.0.1:9000, [::1]:9000; port 0: any free port
                          (default ${DEFAULTS.port} on all addresses; in the demo on 127.0.0.1)
  -b, --backend URL       a backend; repeat the flag for each one
                          (replaces the file's backends outside of groups)
      --balancer NAME     power-of-two (default), least-connections, round-robin, random,
                          peak-ewma, consistent-hash or first-available
      --threads N         number of threads, or auto (default ${DEFAULTS.threads}; in the demo 2)
      --access-log FORMAT off, common, combined (default) or json: one line on standard output
                          for each exchange
      --log-level LEVEL   debug, info (default), warn, error or silent: diagnostics on
                          standard error
  -h, --help              print this help
  -v, --version           print the version

The file contains the options of createProxy(), and
  listen                  a port, or "HOST:PORT"
  threads                 a number, "auto" or { "min": 1, "max": 4 }
  log                     { "access": FORMAT, "level": LEVEL }

Signals
  SIGTERM, SIGINT         stop listening, finish open exchanges, exit 0; a second one: exit at once
  SIGHUP                  ignored, with a warning: the configuration is read only at the start

Exit codes
  0 success    1 failure while running    2 invalid command line or configuration

Examples
  heddle --listen 9000 --backend http://127.0.0.1:3001 --backend http://127.0.0.1:3002
  heddle check heddle.config.json
`
