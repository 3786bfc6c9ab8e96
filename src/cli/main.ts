#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { type Flags, parseArguments } from './arguments.ts'
import { CommandError } from './command-error.ts'
import { demo } from './demo.ts'
import { helpOn } from './help.ts'
import { DEFAULT_LISTENERS, type Opened, openListeners } from './open.ts'
import { describeListen, serve } from './run.ts'
import { readSettings } from './settings.ts'

async function main(argv: readonly string[]): Promise<void> {
  const command = parseArguments(argv)
  if (command.name === 'help') process.stdout.write(helpOn(command.topic))
  else if (command.name === 'version') process.stdout.write(`${version()}\n`)
  else if (command.name === 'check') await check(command.flags)
  else if (command.name === 'demo' && isUnconfigured(command.flags)) await demo(command.flags)
  else await run(command.flags)
}

function isUnconfigured({ backend, config }: Flags): boolean {
  return backend === undefined && config === undefined
}

async function run(flags: Flags): Promise<void> {
  const settings = await readSettings(flags)
  const { proxy, logger, warnings } = settings
  for (const warning of warnings) logger.warn({}, warning)
  const listeners = settings.listeners.length === 0 ? DEFAULT_LISTENERS : settings.listeners
  await serve({
    proxy,
    logger,
    open: () => openListeners(settings, listeners),
    onOpen(addresses) {
      const { groups, threads } = proxy.stats()
      const backends = groups.reduce((sum, group) => sum + group.backends.length, 0)
      const within = groups.length > 1 ? ` in ${counted(groups.length, 'group')}` : ''
      const served = counted(Math.max(1, threads.length), 'thread')
      logger.info(
        {},
        `heddle ${version()} listening on ${listed(addresses)}; ${counted(backends, 'backend')}${within}; ${served}`,
      )
    },
  })
}

function listed(addresses: Opened['addresses']): string {
  return addresses.map(({ url, redirect }) => (redirect === true ? `${url} (redirects to https)` : url)).join(', ')
}

async function check(flags: Flags): Promise<void> {
  const { proxy, listeners, source, routes, warnings, listenWarnings } = await readSettings(flags)
  const { groups } = proxy.stats()
  await proxy.close()
  // An empty group is valid, since the file may be generated, but worth a warning.
  const empty = groups.filter(({ backends }) => backends.length === 0)
  const others = empty.map(({ name }) => `group ${name} has no backends: its requests get 503`)
  for (const warning of [...listenWarnings, ...warnings, ...others])
    process.stderr.write(`heddle: warning: ${warning}\n`)
  const backends = groups.reduce((sum, group) => sum + group.backends.length, 0)
  const counts = [counted(groups.length, 'group'), counted(backends, 'backend'), counted(routes, 'route')].join(', ')
  const where = (listeners.length === 0 ? DEFAULT_LISTENERS : listeners).map(
    (one) =>
      `${describeListen(one)}${one.tls === undefined ? '' : ' (https)'}${one.redirect === undefined ? '' : ' (redirects to https)'}`,
  )
  process.stdout.write(`ok: ${source ?? 'the flags'}: ${counts}, listening on ${where.join(', ')}\n`)
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
  const text =
    error instanceof CommandError
      ? error.message
      : error instanceof Error
        ? (error.stack ?? error.message)
        : String(error)
  process.stderr.write(`heddle: ${text}\n`)
  process.exitCode = error instanceof CommandError ? error.exitCode : 1
}
