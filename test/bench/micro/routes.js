import { resolveOptions } from '../../../dist/src/config/resolve.js'
import { createRouter } from '../../../dist/src/routing/router.js'

const COUNT = 10_000
const numbers = (count) => Array.from({ length: count }, (_, index) => index)
const host = (index) => `shop-${index}.example.com`
const path = (index) => `/api/service-${index}`

/** Finding a route: each of them in its turn, by a path of four segments. */
export const routeCases = {
  'route by path, 10 routes': () => matches(byPath(10), (index) => ['api.example.com', `${path(index % 10)}/items/7`]),
  'route by path, 10,000 routes': () =>
    matches(byPath(COUNT), (index) => ['api.example.com', `${path(index % COUNT)}/items/7`]),
  'route by host, 10,000 routes': () => matches(byHost(), (index) => [host(index % COUNT), '/api/items/7/parts']),
  'no route, 10,000 routes': () =>
    matches(
      [...byPath(COUNT / 2), ...byHost(COUNT / 2)],
      (index) => [`${host(COUNT + index)}`, '/other/items/7/parts'],
      null,
    ),
}

const byPath = (count) => numbers(count).map((index) => ({ path: path(index) }))
const byHost = (count = COUNT) => numbers(count).map((index) => ({ host: host(index) }))

function matches(routes, requestOf, wanted) {
  const router = createRouter(resolveOptions({ target: 'http://127.0.0.1:3000', routes }).routes)
  // Made beforehand, and more of them than routes: to make a string takes as long as to look one up.
  const requests = numbers(COUNT).map(requestOf)
  return (index) => {
    const [name, target] = requests[index % COUNT]
    const route = router.match('GET', name, target)
    if (wanted === null ? route !== null : route === null) throw new Error(`${name}${target}: the wrong route`)
    return route
  }
}
