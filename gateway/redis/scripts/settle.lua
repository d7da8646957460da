-- include: _batch
-- What the sweeper does to one batch: stop it when it is over time or budget, drop the leases of dead workers once it is
-- stopped, end it when it is over, repair what a crash left. ARGV: data version, ms until the next look.
-- Replies {missing|newer|ended|in_progress|canceling, time of the next look, time from which items can be claimed (0:
-- none), level, tenant}.
local stored, status, cursor, total, rest, expires, cap, spend, stop, grace, level, tenant = unpack(redis.call(
  'HMGET', META, 'v', 'st', 'next', 'total', 'rest', 'expires', 'cap', 'spend', 'stop', 'grace', 'prio', 'tenant'))
if not status then return {'missing', 0, 0} end
local now = now_ms()
local look = now + tonumber(ARGV[2])
if tonumber(stored) > tonumber(ARGV[1]) then return {'newer', look, 0} end
if status == 'ended' then
  clear()
  return {'ended', 0, 0}
end
redis.call('PERSIST', INPUT)
redis.call('PERSIST', IDS)

if rest == '' then
  if now >= tonumber(expires) then
    rest = 'expired'
  elseif cap ~= '' and tonumber(spend) >= tonumber(cap) then
    rest = 'capped'
  end
  if rest ~= '' then
    stop = whole(now)
    redis.call('HSET', META, 'rest', rest, 'stop', stop)
  end
end
if rest ~= '' then redis.call('ZREMRANGEBYSCORE', LEASE, '-inf', now) end
if seal_if_over(now) then return {'ended', 0, 0} end

local function first(key)
  local score = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return score and tonumber(score)
end

local lease, retry = first(LEASE), first(RETRY)
if rest ~= '' then
  return {status, math.min(look, lease or look, tonumber(stop) + tonumber(grace)), 0, level, tenant}
end
look = math.min(look, tonumber(expires))
if tonumber(cursor) < tonumber(total) or redis.call('ZCARD', SUSPECT) > 0 then return {status, look, now, level, tenant} end
if not lease and not retry then
  -- Unrecorded items that nobody has: the cursor starts over, and passes by all that are recorded.
  redis.call('HSET', META, 'next', 0)
  return {status, look, now, level, tenant}
end
return {status, look, math.min(lease or retry, retry or lease), level, tenant}
