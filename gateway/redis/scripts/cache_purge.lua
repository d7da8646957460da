-- Notes that answers asked for until now are not to be kept any more (see cache_keep). KEYS: the shard's purged.
-- ARGV: which ones, ms that the note lives: longer than any answer takes.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
