import { createHash } from 'node:crypto'
import { seededRandom } from '../../src/testing/random.ts'

export const MIB = 1024 * 1024

/** Bytes without a pattern that a shifted or repeated piece could hide in; always the same for the same seed. */
export function randomBytes(length: number, seed = 1): Buffer {
  const random = seededRandom(seed)
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32
  return Buffer.from(words.buffer, 0, length)
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
