import { parseArgs } from 'node:util'
import { CommandError } from './command-error.ts'

/** The flags as typed. They are checked together with the configuration, so that all mistakes are reported at once. */
export interface Flags {
  readonly config: string | undefined
  readonly listen: string | undefined
  readonly backend: readonly string[] | undefined
  readonly balancer: string | undefined
  readonly threads: string | undefined
  readonly 'access-log': string | undefined
  readonly 'log-level': string | undefined
}

/** The command to run. */
export type Command =
  | { readonly name: 'help' }
  | { readonly name: 'version' }
  | { readonly name: 'run' | 'demo' | 'check'; readonly flags: Flags }

const COMMANDS = new Set(['demo', 'check'])

/** Reads the command line. @throws CommandError for an unknown command, flag or argument. */
export function parseArguments(argv: readonly string[]): Command {
  const { values, positionals } = parse(argv)
  const { help, version, ...flags } = values
  if (help === true) return { name: 'help' }
  if (version === true) return { name: 'version' }
  const [name, file, ...rest] = positionals
  if (name !== undefined && !COMMANDS.has(name)) throw misuse(`unknown command ${name}`)
  const superfluous = name === 'check' ? rest[0] : (file ?? rest[0])
  if (superfluous !== undefined) throw misuse(`unexpected argument ${superfluous}`)
  const common = flags as Flags
  if (name === 'demo') return { name, flags: common }
  if (name !== 'check') return { name: 'run', flags: common }
  if (file !== undefined && flags.config !== undefined) throw misuse('check takes one file: FILE or --config FILE')
  return { name, flags: { ...common, config: file ?? flags.config } }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c' },
        listen: { type: 'string', short: 'l' },
        backend: { type: 'string', short: 'b', multiple: true },
        balancer: { type: 'string' },
        threads: { type: 'string' },
        'access-log': { type: 'string' },
        'log-level': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
    })
  } catch (cause) {
    // Only the first sentence names the mistake; node then explains at length how to escape a dash.
    const message = cause instanceof Error ? cause.message : String(cause)
    throw misuse(message.split(/\. |\n/)[0] ?? message, cause)
  }
}

function misuse(message: string, cause?: unknown): CommandError {
  return new CommandError(2, `${message}; see heddle --help`, { cause })
}
