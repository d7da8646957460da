-- include: _scheduler
-- See to it that a batch is offered, now or after a time, and inspected by the sweeper. Changes nothing that is in place.
-- ARGV: batch, level, order, tenant, ms until it has something to claim, ms until the sweeper's next inspection.
local batch, level, order, tenant = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local wait, now = tonumber(ARGV[5]), now_ms()
redis.call('ZADD', DUE, whole(now + tonumber(ARGV[6])), batch)
local record = find(batch)
if record and (record.level ~= level or record.order ~= order) then
  unready(record) -- stored by a version of the gateway with other priorities
  record = nil
end
if record and is_ready(record) then return 'ready' end
if wait > 0 then
  redis.call('ZADD', WAKE, 'LT', whole(now + wait), batch)
  if not record then
    redis.call('HSET', RECORDS, batch, level .. ' ' .. tenant .. ' ' .. stamp(order * PRIORITY))
  end
  return 'waiting'
end
make_ready(batch, level, order, tenant)
redis.call('ZREM', WAKE, batch)
return 'ready'
