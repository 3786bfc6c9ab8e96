-- One request for all connections, built once by wrk (no `request` function: wrk stays on its fast path), and a
-- summary that a program can read.

local bodyBytes = tonumber(os.getenv('BENCH_BODY_BYTES') or '0')
if bodyBytes > 0 then
  wrk.method = 'POST'
  wrk.headers['Content-Type'] = 'application/octet-stream'
  wrk.body = string.rep('x', bodyBytes)
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    'BENCH {"requests":%d,"durationUs":%d,"p50Us":%d,"p99Us":%d,"p999Us":%d,' ..
      '"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9),
    e.connect, e.read, e.write, e.timeout, e.status
  ))
end
