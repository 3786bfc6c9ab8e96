/** The part of a terminal that a {@link LiveDisplay} uses. */
export interface Screen {
  write(text: string): unknown
  readonly columns: number
  readonly rows: number
}

const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
/** A terminal that knows synchronized updates shows what is between them at once; others ignore them. */
const BEGIN_UPDATE = '\x1b[?2026h'
const END_UPDATE = '\x1b[?2026l'
const CLEAR_TO_END_OF_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

/** Some lines at the bottom of a terminal that are redrawn in place; other lines scroll by above them. */
export class LiveDisplay {
  readonly #screen: Screen
  /** The lines on the screen. */
  #drawn: readonly string[] = []
  #isOpen = true

  constructor(screen: Screen) {
    this.#screen = screen
    screen.write(HIDE_CURSOR)
  }

  /** Replaces the lines at the bottom. Without a change nothing is written. Lines that the terminal has no room for are left out. */
  draw(lines: readonly string[]): void {
    const fitting = lines.slice(0, Math.max(0, this.#screen.rows - 1))
    if (this.#isOpen && fitting.join('\n') !== this.#drawn.join('\n')) this.#write([], fitting)
  }

  /** Writes lines above. */
  log(text: string): void {
    this.#write(text.replace(/\n$/, '').split('\n'), this.#drawn)
  }

  /** Leaves the last lines on the screen, and shows the cursor. */
  close(): void {
    if (this.#isOpen) this.#screen.write(SHOW_CURSOR)
    this.#isOpen = false
  }

  #write(above: readonly string[], lines: readonly string[]): void {
    const { columns } = this.#screen
    // After a resize the terminal has wrapped lines that are too long now.
    const height = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(visibleLength(line) / columns)), 0)
    const up = height === 0 ? '\r' : `\x1b[${height}F`
    const text = [...above, ...lines].map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join('')
    this.#drawn = lines
    this.#screen.write(`${BEGIN_UPDATE}${up}${text}${CLEAR_BELOW}${END_UPDATE}`)
  }
}

/** The length without colours. */
function visibleLength(line: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is how colours begin
  return line.replace(/\x1b\[[\d;]*m/g, '').length
}
