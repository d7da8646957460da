-- include: _batch
-- Give leased items back, to be claimed again after a delay. Only what the fence still holds.
-- ARGV: fence, then per item: index, delay ms, tries so far (-1: leave), refusals in a row, cost in micro-dollars.
-- Replies {batch ended 0|1, ms until the batch's first retry (-1: none), then per item 1 released, 0 not held}.
local fence, now = ARGV[1], now_ms()
local status, rest, longest = unpack(redis.call('HMGET', META, 'st', 'rest', 'delay'))
local reply = {0, -1}

local function release(index, delay, tries, refusals, cost)
  if redis.call('HGET', OWN, index) ~= fence then return 0 end
  if rest == '' then
    if tonumber(tries) >= 0 then redis.call('HSET', TRIES, index, tries, 'r' .. index, refusals) end
    redis.call('ZADD', RETRY, whole(now + tonumber(delay)), index)
  end
  redis.call('ZREM', LEASE, index)
  redis.call('HDEL', OWN, index)
  if tonumber(cost) > 0 then redis.call('HINCRBY', META, 'spend', cost) end
  return 1
end

local delay = tonumber(longest or 0)
for position = 3, #ARGV, 5 do delay = math.max(delay, tonumber(ARGV[position])) end
-- The longest delay there was: what lies further ahead was stored before the clock was set back.
if rest == '' and delay > tonumber(longest or -1) then redis.call('HSET', META, 'delay', whole(delay)) end
for position = 2, #ARGV, 5 do
  reply[#reply + 1] = release(unpack(ARGV, position, position + 4))
end
if status == 'ended' then clear() end
if not status or status == 'ended' or seal_if_over(now) then
  reply[1] = 1
else
  local first = redis.call('ZRANGE', RETRY, 0, 0, 'WITHSCORES')[2]
  if first then reply[2] = math.max(0, tonumber(first) - now) end
end
return reply
