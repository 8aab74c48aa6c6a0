-- POST /v1/bindings with a new policy each time. Each wrk thread counts in a range of its own.
local threads = 0
function setup(thread)
  thread:set("base", threads * 100000)
  threads = threads + 1
end
function init(args)
  count, pool, run = 0, args[1], args[2]
end
function request()
  count = count + 1
  local n = base + count
  wrk.headers["Content-Type"] = "application/json"
  return wrk.format("POST", "/v1/bindings", nil, string.format(
    '{"external_id":"%s-%d","mode":"ax","pool":"%s","policy":{"ref":"P-%d"},"subscriber":{"real_number":"+86138000%05d"}}',
    run, n, pool, n, n % 100000))
end
function response(status)
  if status ~= 201 then failed = (failed or 0) + 1 end
end
function done(summary, latency)
  io.write(string.format("RESULT rate=%.0f p50=%.2f p99=%.2f errors=%d\n",
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status))
end
