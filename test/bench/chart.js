// All in px.
const WIDTH = 900
const LABELS = 350
const VALUES = 90
const BAR = 16
const LINE = 22
const TITLE = 44

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .ours { fill: #1a7f64 }
  .other { fill: #8c959f }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #3fb68b }
    .other { fill: #6e7681 }
    .page { fill: #0d1117 }
  }`

/**
 * Horizontal bars as an SVG document, light or dark as the reader's system is. Each panel has a scale of its own, from 0.
 * @param panels `{ title, bars }`, a bar is `{ label, value, text, isOurs }`; `text` stands behind it.
 */
export function chart(panels) {
  let y = 0
  const parts = panels.map(({ title, bars }) => {
    const top = y
    y += TITLE + bars.length * LINE
    return panel(title, bars, top)
  })
  const height = y + LINE
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>Benchmarks of heddle and its peers</title>
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${height}"/>
${parts.join('\n')}
</svg>
`
}

function panel(title, bars, top) {
  const most = Math.max(...bars.map(({ value }) => value))
  const lines = bars.map(({ label, value, text, isOurs }, index) => {
    const y = top + TITLE + index * LINE
    const width = (Math.max(0, value / most) * (WIDTH - LABELS - VALUES)).toFixed(1)
    const base = y + BAR - 3
    return `<text x="${LABELS - 10}" y="${base}" text-anchor="end">${escaped(label)}</text>
<rect class="${isOurs ? 'ours' : 'other'}" x="${LABELS}" y="${y}" width="${width}" height="${BAR}" rx="2"/>
<text x="${LABELS + Number(width) + 8}" y="${base}">${escaped(text)}</text>`
  })
  return [`<text class="title" x="12" y="${top + TITLE - 14}">${escaped(title)}</text>`, ...lines].join('\n')
}

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (text) => text.replace(/[&<>"]/g, (char) => ENTITIES[char])
