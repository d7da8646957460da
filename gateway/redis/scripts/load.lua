-- include: _time
-- Calls in flight at one upstream, as the processes report them (gateway/upstream/capacity/loads.py). KEYS: the reports.
-- ARGV: this process, its live calls, its calls of batches, ms for which a report counts.
-- Replies {live calls, calls of batches, processes with calls of batches}, this one's included.
local reports, process = KEYS[1], ARGV[1]
local lives = tonumber(ARGV[4])
local now = now_ms()

redis.call('HSET', reports, process, whole(now) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
redis.call('PEXPIRE', reports, lives)
local live, batched, batching = 0, 0, 0
local all = redis.call('HGETALL', reports)
for index = 1, #all, 2 do
  local at, calls, batches = string.match(all[index + 1], '(%d+) (%d+) (%d+)')
  if math.abs(now - tonumber(at)) > lives then
    redis.call('HDEL', reports, all[index])
  else
    live = live + tonumber(calls)
    batched = batched + tonumber(batches)
    if tonumber(batches) > 0 then batching = batching + 1 end
  end
end
return {live, batched, batching}
