import { startChild } from './children.js'

const BACKENDS = 2

/** The backends that a scenario asks, for as long as `work` takes. */
export async function withBackends({ backend = './backends.js', isToHttp2 = false }, signal, work) {
  const backends = []
  try {
    for (let count = 0; count < BACKENDS; count++)
      backends.push(await startChild(backend, isToHttp2 ? ['--http2'] : [], { isLoad: true, signal }))
    return await work(backends)
  } finally {
    await Promise.all(backends.map((one) => one.stop()))
  }
}

/** Starts a subject in front of `backends`, as a scenario wants it. */
export function startSubject(file, { isTls, isHttp2, isToHttp2, signal }, backends, execArgv = []) {
  const urls = backends.map(({ port }) => `http://127.0.0.1:${port}`)
  const flags = [isTls && '--tls', isHttp2 && '--http2', isToHttp2 && '--to-http2'].filter(Boolean)
  return startChild(`./subjects/${file}.js`, [...flags, ...urls], { execArgv, signal })
}
