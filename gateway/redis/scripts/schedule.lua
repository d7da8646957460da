-- include: _scheduler
-- See to it that a batch is offered, now or from a time on, and looked at by the sweeper. Changes nothing that is in place.
-- ARGV: batch, level, tenant, ms from which it has something to claim, ms of the sweeper's next look.
local batch, level, tenant, at, look = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
redis.call('ZADD', DUE, look, batch)
local record = find(batch)
if record and is_ready(record) then return 'ready' end
if at > now_ms() then
  redis.call('ZADD', WAKE, 'LT', at, batch)
  if not record then redis.call('HSET', RECORDS, batch, level .. ' ' .. tenant .. ' ' .. stamp(0)) end
  return 'waiting'
end
make_ready(batch, level, tenant)
redis.call('ZREM', WAKE, batch)
return 'ready'
