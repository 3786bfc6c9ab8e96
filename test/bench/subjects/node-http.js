import { serve } from '../serve.js'

// No proxy: it answers by itself, to show what node's server takes for a connection.
serve((_req, res) => res.end('{}'), { version: process.version })
