-- include: _batch
-- Give leased items back, to be claimed again after a delay. Only what the fence still holds.
-- ARGV: fence, then per item: index, delay ms, tries so far (-1: leave), cost in micro-dollars.
-- Replies {sealed 0|1, soonest time to claim again (0: none), then per item 1 released, 0 not held}.
local fence, now = ARGV[1], now_ms()
local rest = redis.call('HGET', META, 'rest')
local reply, soonest = {0, 0}, 0

local function release(index, delay, tries, cost)
  if redis.call('HGET', OWN, index) ~= fence or recorded(index) then return 0 end
  if tonumber(tries) >= 0 then redis.call('HSET', TRIES, index, tries) end
  if rest == '' then -- a stopped batch tries nothing again
    local at = now + tonumber(delay)
    if soonest == 0 or at < soonest then soonest = at end
    redis.call('ZADD', RETRY, whole(at), index)
  end
  redis.call('ZREM', LEASE, index)
  redis.call('HDEL', OWN, index)
  if tonumber(cost) > 0 then redis.call('HINCRBY', META, 'spend', cost) end
  return 1
end

for position = 2, #ARGV, 4 do
  reply[#reply + 1] = release(unpack(ARGV, position, position + 3))
end
if rest and redis.call('HGET', META, 'st') ~= 'ended' and seal_if_over(now) then reply[1] = 1 end
reply[2] = soonest
return reply
