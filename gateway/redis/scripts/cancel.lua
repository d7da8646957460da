-- include: _batch
-- Stop a batch: nothing new is claimed, what is in flight may finish. The work does not depend on the number of items.
-- ARGV: tenant. Replies missing, ended, canceling.
local tenant, status, rest = unpack(redis.call('HMGET', META, 'tenant', 'st', 'rest'))
if not status or tenant ~= ARGV[1] then return 'missing' end
if status == 'ended' then
  clear()
  return 'ended'
end

local now = now_ms()
allow_at_maxmemory()
if status == 'in_progress' then
  if rest == '' then
    redis.call('HSET', META, 'st', 'canceling', 'cancel', whole(now), 'rest', 'canceled', 'stop', whole(now))
  else
    redis.call('HSET', META, 'st', 'canceling', 'cancel', whole(now))
  end
end
if seal_if_over(now) then return 'ended' end
return 'canceling'
