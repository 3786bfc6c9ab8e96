/** Whether a header describes the content of its message, which is now another one. @param lower its name in lower case. */
export function describesContent(lower: string): boolean {
  return lower.startsWith('content-') || lower === 'digest' || lower === 'repr-digest'
}
