import { startChild } from './children.js'

const BACKENDS = 2

/** The backends that a scenario asks, for as long as `work` takes. */
export async function withBackends({ backend = './backends.js' }, signal, work) {
  const backends = []
  try {
    for (let count = 0; count < BACKENDS; count++)
      backends.push(await startChild(backend, [], { isLoad: true, signal }))
    return await work(backends)
  } finally {
    await Promise.all(backends.map((one) => one.stop()))
  }
}

/** Starts a subject in front of `backends`, as a scenario wants it. */
export function startSubject(file, { isTls = false, signal }, backends, execArgv = []) {
  const urls = backends.map(({ port }) => `http://127.0.0.1:${port}`)
  return startChild(`./subjects/${file}.js`, isTls ? ['--tls', ...urls] : urls, { execArgv, signal })
}
