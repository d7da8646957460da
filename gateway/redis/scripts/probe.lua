-- Writes a key that passes away: whether scripts, this user and this server may write. KEYS: the key. ARGV: ms to live.
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
