export { type ConsoleLike, toLogger } from './adapt.ts'
export { type ConsoleLoggerOptions, consoleLogger, type LogStream } from './console.ts'
export { type LineStream, type LineWriter, type LineWriterOptions, lineWriter } from './line-writer.ts'
export { silentLogger } from './silent.ts'
