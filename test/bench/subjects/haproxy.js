import { runHaproxy } from '../haproxy.js'

await runHaproxy(1)
