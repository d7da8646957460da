-- include: _batch
-- Give leased items back, to be claimed again after a delay. Only what the fence still holds.
-- ARGV: fence, then per item: index, delay ms, tries so far (-1: leave), cost in micro-dollars.
-- Replies {batch ended 0|1, time of the batch's first retry (0: none), then per item 1 released, 0 not held}.
local fence, now = ARGV[1], now_ms()
local status = redis.call('HGET', META, 'st')
local reply = {0, 0}

local function release(index, delay, tries, cost)
  if redis.call('HGET', OWN, index) ~= fence then return 0 end
  if tonumber(tries) >= 0 then redis.call('HSET', TRIES, index, tries) end
  redis.call('ZADD', RETRY, whole(now + tonumber(delay)), index)
  redis.call('ZREM', LEASE, index)
  redis.call('HDEL', OWN, index)
  if tonumber(cost) > 0 then redis.call('HINCRBY', META, 'spend', cost) end
  return 1
end

for position = 2, #ARGV, 4 do
  reply[#reply + 1] = release(unpack(ARGV, position, position + 3))
end
if status == 'ended' then clear() end
if not status or status == 'ended' or seal_if_over(now) then
  reply[1] = 1
else
  reply[2] = tonumber(redis.call('ZRANGE', RETRY, 0, 0, 'WITHSCORES')[2] or 0)
end
return reply
