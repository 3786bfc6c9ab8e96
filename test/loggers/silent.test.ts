import { silentLogger } from '../../src/loggers/silent.ts'
import { loggerSuite } from '../../src/testing/logger-suite.ts'

loggerSuite('silentLogger', silentLogger)
