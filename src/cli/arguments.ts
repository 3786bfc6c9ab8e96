import { parseArgs } from 'node:util'
import { didYouMean } from '../runtime/nearest.ts'
import { CommandError } from './command-error.ts'
import { isConfigFileName } from './config-file.ts'

/** The flags as typed. They are checked together with the configuration, so that all mistakes are reported at once. */
export interface Flags {
  readonly config: string | undefined
  readonly listen: readonly string[] | undefined
  readonly backend: readonly string[] | undefined
  readonly balancer: string | undefined
  readonly threads: string | undefined
  readonly 'access-log': string | undefined
  readonly 'log-level': string | undefined
}

/** The command to run. */
export type Command =
  | { readonly name: 'help'; readonly topic: string | undefined }
  | { readonly name: 'version' }
  | { readonly name: 'run' | 'demo' | 'check'; readonly flags: Flags }

const COMMANDS = ['demo', 'check', 'help', 'version']

const OPTIONS = {
  config: { type: 'string', short: 'c' },
  listen: { type: 'string', short: 'l', multiple: true },
  backend: { type: 'string', short: 'b', multiple: true },
  balancer: { type: 'string' },
  threads: { type: 'string' },
  'access-log': { type: 'string' },
  'log-level': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const

/** Reads the command line. @throws CommandError for an unknown command, flag or argument. */
export function parseArguments(argv: readonly string[]): Command {
  const { values, positionals } = parse(argv)
  const { help, version, ...flags } = values
  const [name, operand, ...rest] = positionals
  if (name !== undefined && !COMMANDS.includes(name)) throw misuse(`unknown command ${name}${suggestion(name)}`)
  if (help === true) return { name: 'help', topic: name === 'help' ? operand : name }
  if (version === true) return { name: 'version' }
  const superfluous = name === 'check' || name === 'help' ? rest[0] : (operand ?? rest[0])
  if (superfluous !== undefined) throw misuse(`unexpected argument ${superfluous}`)
  if (name === 'help') return { name, topic: operand }
  if (name === 'version') return { name }
  const common = flags as Flags
  if (name === 'demo') return { name, flags: common }
  if (name !== 'check') return { name: 'run', flags: common }
  if (operand !== undefined && flags.config !== undefined) {
    throw misuse('check takes one file: FILE or --config FILE')
  }
  return { name, flags: { ...common, config: operand ?? flags.config } }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], allowPositionals: true, options: OPTIONS })
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    const unknown = /^Unknown option '--?([^']+)'/.exec(message)?.[1]
    if (unknown !== undefined) {
      const hint = didYouMean(unknown, Object.keys(OPTIONS), '--')
      throw misuse(`unknown flag ${unknown.length === 1 ? '-' : '--'}${unknown}${hint}`, cause)
    }
    // Only the first sentence names the mistake; node then explains at length how to escape a dash.
    throw misuse(message.split(/\. |\n/)[0] ?? message, cause)
  }
}

/** What was probably meant by an unknown command. */
function suggestion(name: string): string {
  if (isConfigFileName(name)) return `; did you mean --config ${name}?`
  if (/^https?:|^[\w.-]*:?\d+$/.test(name)) return `; did you mean --backend ${name}?`
  return didYouMean(name, COMMANDS)
}

function misuse(message: string, cause?: unknown): CommandError {
  return new CommandError(2, `${message}; see heddle --help`, { cause })
}
