-- include: _scheduler
-- Forget a batch that has ended or was deleted. ARGV: batch. Replies 1 to the first that does, 0 to others.
local batch = ARGV[1]
local record = find(batch)
if record then unready(record) end
redis.call('ZREM', WAKE, batch)
redis.call('HDEL', RECORDS, batch)
return redis.call('ZREM', DUE, batch) -- last: until then the sweeper comes back to it
