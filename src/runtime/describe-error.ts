/** The message of any thrown value, with the system's error code if it has one. Never throws. */
export function describeError(error: unknown): string {
  try {
    if (!(error instanceof Error)) return String(error)
    const message = String(error.message)
    const code = (error as NodeJS.ErrnoException).code
    return code === undefined || message.includes(code) ? message : `${message} (${code})`
  } catch {
    return 'an unreadable error'
  }
}
