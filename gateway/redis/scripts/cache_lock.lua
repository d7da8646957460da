-- Who asks the upstream for one fingerprint of the prompt cache. KEYS: the lock, the entry. ARGV: verb, nonce, ms.
--   take: replies taken, answered (taken too, but an answer is stored by now), held (another asks), or barren (another
--         did, and nothing came of it that can be shared).
--   hold: it goes on; replies 1, or 0 when the lock is another's.
--   free: it is over, and the answer is there for all, or the call was broken off. Replies as hold.
--   end:  it is over, with nothing to share: kept for `ms`, so that waiting processes call for themselves at once.
local lock, entry, verb, nonce, ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local holder = redis.call('GET', lock)
if verb == 'take' then
  if holder == '-' then return 'barren' end
  if holder and holder ~= nonce then return 'held' end
  redis.call('SET', lock, nonce, 'PX', ms)
  return redis.call('EXISTS', entry) == 1 and 'answered' or 'taken'
end
if holder ~= nonce then return 0 end
if verb == 'hold' then
  redis.call('PEXPIRE', lock, ms)
elseif verb == 'free' then
  redis.call('DEL', lock)
else
  redis.call('SET', lock, '-', 'PX', ms)
end
return 1
