export { budgetedRetries, RETRY_DEFAULTS, type RetryOptions } from './budgeted.ts'
