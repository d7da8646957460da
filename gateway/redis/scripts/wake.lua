-- include: _scheduler
-- Offer a batch after a time if it is not offered before. ARGV: batch, ms.
redis.call('ZADD', WAKE, 'LT', whole(now_ms() + tonumber(ARGV[2])), ARGV[1])
return 1
