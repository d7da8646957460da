-- include: _scheduler
-- Batches to inspect now. ARGV: how many at most, ms that lie between two inspections of a batch at most.
local most, now = tonumber(ARGV[1]), now_ms()
local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, most)
-- A batch that is due later than any inspection is set for was stored before this server's clock was set back.
local beyond = '(' .. whole(now + tonumber(ARGV[2]))
for _, batch in ipairs(redis.call('ZRANGEBYSCORE', DUE, beyond, '+inf', 'LIMIT', 0, most - #due)) do
  due[#due + 1] = batch
end
return due
