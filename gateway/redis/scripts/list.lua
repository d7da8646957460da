-- Batch ids of a tenant, newest first. KEYS: the tenant's list.
-- ARGV: limit, after|before|start, id, time in the id (used when the id itself was deleted while its page was read).
-- `before` replies the ones next to the id, nearest last, as `start` and `after` do: always newest first.
local limit, side, id, created = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if side == 'start' then return redis.call('ZREVRANGE', KEYS[1], 0, limit - 1) end

local rank = redis.call('ZREVRANK', KEYS[1], id)
local newer = rank or redis.call('ZCOUNT', KEYS[1], '(' .. created, '+inf')
if side == 'before' then
  if newer == 0 then return {} end
  return redis.call('ZREVRANGE', KEYS[1], math.max(newer - limit, 0), newer - 1)
end
local first = rank and rank + 1 or newer
return redis.call('ZREVRANGE', KEYS[1], first, first + limit - 1)
