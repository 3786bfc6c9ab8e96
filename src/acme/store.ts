import { randomBytes } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describeError } from '../runtime/describe-error.ts'

/**
 * Certificates and the key of the account in a folder, which only this user may read: one file for each name, with the key before its
 * certificates, and `account.key`. Each authority has a folder of its own, so that a trial never takes the place of the real thing.
 */
export class Store {
  readonly folder: string

  /** @param directory URL of the authority. */
  constructor(folder: string, directory: string) {
    const { host, pathname } = new URL(directory)
    this.folder = join(folder, `${host}${pathname}`.replace(/[^\w.-]+/g, '_').replace(/_$/, ''))
  }

  /** Makes the folder. @throws Error if it cannot be used. */
  open(): void {
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 })
      chmodSync(this.folder, 0o700)
      accessSync(this.folder, constants.R_OK | constants.W_OK | constants.X_OK)
      // It may lie in a repository.
      writeFileSync(join(this.folder, '.gitignore'), '*\n', { mode: 0o600 })
    } catch (cause) {
      const why = `the folder for certificates and the key of the account cannot be used: ${describeError(cause)}`
      throw new Error(`acme: ${why}; make it writable for this user, or set the option folder to another one`, {
        cause,
      })
    }
  }

  /** The file of a host name, or of the account. @throws if it is there and cannot be read. */
  read(what: StoredFile): string | null {
    try {
      return readFileSync(this.pathOf(what), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
  }

  /** Writes a file: whoever reads it gets the old or the new text, also after a crash. @throws if it cannot. */
  write(what: StoredFile, text: string): void {
    const path = this.pathOf(what)
    const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`
    try {
      const file = openSync(draft, 'wx', 0o600)
      try {
        writeFileSync(file, text)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(draft, path)
    } catch (error) {
      rmSync(draft, { force: true })
      throw error
    }
  }

  pathOf(what: StoredFile): string {
    return join(this.folder, 'account' in what ? 'account.key' : `${what.name}.pem`)
  }
}

/** A file of the {@link Store}. */
export type StoredFile = { readonly account: true } | { readonly name: string }
