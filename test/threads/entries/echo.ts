// Answers with what it is sent, and never ends a connection by itself.
import http from 'node:http'

const server = http.createServer(async (req, res) => {
  res.end(Buffer.concat(await req.toArray()))
})
server.keepAliveTimeout = 0

export default server
