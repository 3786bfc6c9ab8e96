import type http from 'node:http'
import type net from 'node:net'
import type { Socket } from 'node:net'
import { closeAfter, closeListeningSocket } from './node-internals.ts'
import type { SocketServer } from './socket/server.ts'

/** How long idle connections are left alone, ms: a request may be on its way. */
const IDLE_MS = 500
const LOOK_MS = 20

/** How long {@link untilAllAccepted} looks for a good moment, ms. */
const ACCEPT_MS = 300
/** A turn of the event loop with almost nothing to do is shorter than this, ms. */
const QUIET_TURN_MS = 0.2

/**
 * {@link stopListening} for every socket that brings connections to one of our servers. Its clients are not read meanwhile: each
 * response may bring a client back by a new connection, and a busy server would find no good moment.
 */
export async function stopAccepting(
  server: net.Server | SocketServer,
  listeners: readonly net.Server[],
  maxMs?: number,
): Promise<void> {
  const goOn = 'holdReading' in server ? server.holdReading() : null
  await Promise.all(listeners.map((listener) => stopListening(listener, maxMs)))
  goOn?.()
}

/**
 * Stops listening once all waiting connections have been accepted. Unlike `server.close()` it leaves idle connections alone: a
 * request may be on its way.
 * @param maxMs longest time to look for a good moment.
 */
export async function stopListening(server: net.Server, maxMs: number = ACCEPT_MS): Promise<void> {
  if (!server.listening) return
  await untilAllAccepted(server, Math.min(maxMs, ACCEPT_MS))
  closeListeningSocket(server)
}

/** The last response on each connection of a node:http server, for {@link retireServer}. A {@link SocketServer} keeps its own. */
export function watchResponses(server: net.Server): ReadonlyMap<unknown, http.ServerResponse> {
  const answers = new Map<Socket, http.ServerResponse>()
  onResponse(server, ({ socket }, answer) => {
    if (!answers.has(socket)) socket.once('close', () => answers.delete(socket))
    answers.set(socket, answer)
  })
  return answers
}

/** Calls `listener` before the application's. Only for events that have a listener: the first one would change what node does. */
function onResponse(
  server: net.Server,
  listener: (request: http.IncomingMessage, answer: http.ServerResponse) => void,
): void {
  for (const event of ['request', 'checkContinue', 'checkExpectation']) {
    if (server.listenerCount(event) > 0) server.prependListener(event, listener)
  }
}

/**
 * Lets the connections of a server end by themselves: each response says that its connection ends.
 * @param drainTimeoutMs remaining connections are destroyed after this time.
 * @param connections how many are open; node counts only those that it has accepted itself.
 * @param answers the responses that {@link watchResponses} or the socket server knows.
 */
export async function retireServer(
  server: http.Server | SocketServer,
  drainTimeoutMs: number,
  connections: () => number,
  answers: Iterable<http.ServerResponse>,
): Promise<void> {
  const begin = performance.now()
  let quietSince = begin
  const note = (): void => {
    quietSince = performance.now()
  }
  for (const answer of answers) {
    closeAfter(answer)
    // If its head has been sent, it has said that the connection stays, and another request may follow.
    if (answer.headersSent) answer.once('close', note)
  }
  onResponse(server, (_request, answer) => closeAfter(answer))
  if ('goAway' in server) server.goAway()
  while (connections() > 0) {
    const now = performance.now()
    if (now - begin >= drainTimeoutMs) break
    if (now - quietSince >= IDLE_MS) {
      note()
      // After a stall the time is over before anything has been read: bytes that came meanwhile are read first.
      await nextTurn()
      server.closeIdleConnections()
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  server.closeAllConnections()
}

/**
 * Resolves in a turn of the event loop that found no new connection. When a socket stops listening, the kernel resets connections
 * that have not been accepted, and does not give them to the other threads. A connection that comes between this check and the
 * close is lost anyway, so a short turn is awaited; in the second half of the time any turn is taken.
 */
async function untilAllAccepted(server: net.Server, maxMs: number): Promise<void> {
  let accepted = 0
  const count = (): void => {
    accepted++
  }
  server.on('connection', count)
  const start = performance.now()
  await nextTurn()
  for (;;) {
    const before = accepted
    const began = performance.now()
    await nextTurn()
    const now = performance.now()
    const isPatient = now - start < maxMs / 2
    if ((accepted === before && (now - began < QUIET_TURN_MS || !isPatient)) || now - start > maxMs) break
  }
  server.off('connection', count)
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
