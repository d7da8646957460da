-- include: _scheduler
-- A batch that gave fewer items than were charged has no further ones now: offer it again later, and return the charge.
-- ARGV: batch, items to give back, ms until it is offered again.
local batch, items = ARGV[1], tonumber(ARGV[2])
local record = find(batch)
if not record then return 0 end
redis.call('ZADD', WAKE, 'LT', whole(now_ms() + tonumber(ARGV[3])), batch)
if unready(record) and items > 0 and redis.call('ZSCORE', TENANTS[record.level], record.tenant) then
  redis.call('ZINCRBY', TENANTS[record.level], -items, record.tenant)
end
return 1
