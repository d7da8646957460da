-- include: _time
-- Notes that answers asked for until now are not to be kept any more (see cache_keep). KEYS: the shard's purged.
-- ARGV: which ones, ms that the note lives: longer than any answer takes.
redis.call('HSET', KEYS[1], ARGV[1], whole(now_ms()))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
