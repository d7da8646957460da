-- include: _batch
-- The sweeper's work on one batch: stop it when it is over time or budget, drop the leases of dead workers once it is
-- stopped, end it when it is over, repair what a crash left or a clock that was set back.
-- ARGV: data version, ms until the next inspection.
-- Replies {missing|newer|ended|in_progress|canceling, ms until the next inspection, ms until items can be claimed (-1:
-- none), priority, 1 if it counts across tenants, tenant}.
local stored, status, cursor, total, rest, expires, cap, spend, stop, grace, priority, across, tenant = unpack(
  redis.call('HMGET', META, 'v', 'st', 'next', 'total', 'rest', 'expires', 'cap', 'spend', 'stop', 'grace', 'prio',
    'across', 'tenant'))
if not status then return {'missing', 0, -1} end
local now, inspection = now_ms(), tonumber(ARGV[2])
if tonumber(stored) > tonumber(ARGV[1]) then return {'newer', inspection, -1} end
if status == 'ended' then
  clear()
  return {'ended', 0, -1}
end
allow_at_maxmemory()
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
if seal_if_over(now) then return {'ended', 0, -1} end

-- A retry further ahead than the longest delay there was is due, and a lease longer than any was ends one lease from now:
-- the clock was set back, or another server, with a clock behind, took over.
local SLACK, PAGE = 1000, 500
local longest_delay, longest_lease = unpack(redis.call('HMGET', META, 'delay', 'lease'))
local function bound(key, longest, score)
  if not longest then return end
  local beyond = '(' .. whole(now + tonumber(longest) + SLACK)
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', key, beyond, '+inf', 'LIMIT', 0, PAGE)) do
    redis.call('ZADD', key, 'XX', whole(score), index)
    inspection = SLACK -- there may be more
  end
end
bound(RETRY, longest_delay, now)
bound(LEASE, longest_lease, now + tonumber(longest_lease or 0))

local function first(key)
  local score = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return score and tonumber(score)
end

local function reply(soonest, claimable)
  return {status, math.max(0, math.min(inspection, soonest - now)), claimable, priority, across or 0, tenant}
end

local lease, retry = first(LEASE), first(RETRY)
if rest ~= '' then
  local over = tonumber(stop) + tonumber(grace)
  return reply(math.min(lease or over, over), -1)
end
if tonumber(cursor) < tonumber(total) or redis.call('ZCARD', SUSPECT) > 0 then return reply(tonumber(expires), 0) end
if not lease and not retry then
  -- Unrecorded items that no worker holds: the cursor starts over, and passes by all that are recorded.
  redis.call('HSET', META, 'next', 0)
  return reply(tonumber(expires), 0)
end
return reply(tonumber(expires), math.max(0, math.min(lease or retry, retry or lease) - now))
