import { describe, test } from 'node:test'
import { silentLogger } from '../../src/loggers/silent.ts'
import { loggerSuite } from '../../src/testing/logger-suite.ts'

loggerSuite('silentLogger', silentLogger, { describe, test })
