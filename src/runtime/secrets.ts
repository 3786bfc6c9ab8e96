/** Keeps secrets out of messages. */

/** A key or a certificate, as PEM or as base64 alone: DER begins with the byte 0x30 and a length. */
const KEY = /-----BEGIN |^\s*M[A-I][\w+/=\s\\]{40,}$/

/** Whether `text` may be a key that stands where something else is expected. */
export function looksLikeKey(text: string): boolean {
  return KEY.test(text)
}

/** `text` with the user and password of every URL masked, also of those without a scheme. Values in it are quoted. */
export function withoutPassword(text: string): string {
  // To the last @: the password may have some, and slashes.
  return text.replace(/(\/\/|["'`](?![a-z+]+:\/\/)(?=[^"'`]*:)).*@/gi, '$1***@')
}
