import { HTTP2 } from '../support/running-proxy.ts'
import { registerCallbacks } from './callbacks.ts'

registerCallbacks(HTTP2)
