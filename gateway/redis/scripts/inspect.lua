-- include: _scheduler
-- Have the sweeper inspect a batch after a time. ARGV: batch, ms.
redis.call('HDEL', RECORDS, '-') -- changes nothing: after a write, a script also works at maxmemory, as a cancel must
redis.call('ZADD', DUE, whole(now_ms() + tonumber(ARGV[2])), ARGV[1])
return 1
