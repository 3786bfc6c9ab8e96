// A successor that does not serve until its predecessor has died.
import http from 'node:http'
import { BroadcastChannel, workerData } from 'node:worker_threads'

const { thread } = workerData.heddle

export default async () => {
  const channel = new BroadcastChannel('mourning')
  const heard = new Promise((resolve) => {
    channel.onmessage = ({ data }) => resolve(data)
  })
  channel.unref()
  if (thread === 1) {
    void heard.then(() => process.exit(1))
  } else {
    channel.ref()
    channel.postMessage('go')
    await heard
    channel.close()
  }
  return http.createServer((_req, res) => res.end(String(thread)))
}
