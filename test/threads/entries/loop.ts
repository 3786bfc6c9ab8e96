// Each thread serves, and dies soon after.
import http from 'node:http'

setTimeout(() => {
  throw new Error('never for long')
}, 20)

export default http.createServer()
