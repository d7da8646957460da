-- Which thread a reply belongs to. KEYS: the reply's. ARGV: ms to live, then the thread if it is to be noted.
-- Replies the thread, false when there is none; either way it is remembered for as long again.
local live, thread = ARGV[1], ARGV[2]
if thread then
  redis.call('SET', KEYS[1], thread, 'PX', live)
else
  thread = redis.call('GET', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], live)
end
return thread
