import { FRONTS, type WayIn } from '../support/running-proxy.ts'
import { registerCallbacks } from './callbacks.ts'

registerCallbacks(FRONTS[1] as WayIn)
