/** Ends the command with a line on standard error, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** 2: the command or its configuration is wrong; 1: something failed while it ran. */
  readonly exitCode: 1 | 2

  constructor(exitCode: 1 | 2, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}
