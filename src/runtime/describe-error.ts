/** The message of anything thrown, with the system's error code if there is one. Whatever it is, this throws nothing itself. */
export function describeError(error: unknown): string {
  try {
    if (!(error instanceof Error)) return String(error)
    const message = String(error.message)
    const code = (error as NodeJS.ErrnoException).code
    return code === undefined || message.includes(code) ? message : `${message} (${code})`
  } catch {
    return 'something that cannot be read'
  }
}
