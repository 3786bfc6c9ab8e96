#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { OptionsError } from '../index.ts'
import { type Flags, parseArguments } from './arguments.ts'
import { CommandError } from './command-error.ts'
import { demo } from './demo.ts'
import { DEFAULTS, type Listen } from './file-options.ts'
import { HELP } from './help.ts'
import { describeListen, serve } from './run.ts'
import { readSettings } from './settings.ts'

const LISTEN: Listen = { port: DEFAULTS.port }

async function main(argv: readonly string[]): Promise<void> {
  const command = parseArguments(argv)
  if (command.name === 'help') process.stdout.write(HELP)
  else if (command.name === 'version') process.stdout.write(`${version()}\n`)
  else if (command.name === 'check') await check(command.flags)
  else if (command.name === 'demo' && isUnconfigured(command.flags)) await demo(command.flags)
  else await run(command.flags)
}

function isUnconfigured({ backend, config }: Flags): boolean {
  return backend === undefined && config === undefined
}

async function run(flags: Flags): Promise<void> {
  const { proxy, listen, logger } = await readSettings(flags)
  await serve({ proxy, logger, open: () => proxy.listen(listen ?? LISTEN) })
}

async function check(flags: Flags): Promise<void> {
  const { proxy, listen, source, routes } = await readSettings(flags)
  const { groups } = proxy.stats()
  await proxy.close()
  // An empty group is valid, since the file may be generated, but worth a warning.
  for (const { name, backends } of groups) {
    const isEmpty = backends.length === 0
    if (isEmpty) process.stderr.write(`heddle: warning: group ${name} has no backends: its requests get 503\n`)
  }
  const backends = groups.reduce((sum, group) => sum + group.backends.length, 0)
  const counts = [counted(groups.length, 'group'), counted(backends, 'backend'), counted(routes, 'route')].join(', ')
  process.stdout.write(`ok: ${source ?? 'the flags'}: ${counts}, listening on ${describeListen(listen ?? LISTEN)}\n`)
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function version(): string {
  const file = new URL('../../../package.json', import.meta.url)
  return String(JSON.parse(readFileSync(file, 'utf8')).version)
}

// The reader of our output may stop reading (`heddle demo | head`). That is not an error.
process.stdout.on('error', () => {})

try {
  await main(process.argv.slice(2))
} catch (error) {
  const isExpected = error instanceof CommandError || error instanceof OptionsError
  const text = isExpected ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`heddle: ${text}\n`)
  process.exitCode = error instanceof CommandError ? error.exitCode : error instanceof OptionsError ? 2 : 1
}
