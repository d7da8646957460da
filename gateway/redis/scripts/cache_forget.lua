-- Removes entries of the prompt cache, at most 200, from their shard's index; the entries were deleted, or expired.
-- KEYS: the shard's index, used, totals. ARGV: `old` when they had expired, else empty; their fingerprints.
-- Replies how many there were.
local index, used, totals = unpack(KEYS)
local fate = ARGV[1]
local found = 0
for at = 2, #ARGV do
  local record = redis.call('HGET', index, ARGV[at])
  redis.call('HDEL', index, ARGV[at])
  redis.call('ZREM', used, ARGV[at])
  if record then
    local size, _, owner = record:match('^(%d+) (%d+) (%S+)')
    redis.call('HINCRBY', totals, 'bytes', -size)
    redis.call('HINCRBY', totals, 'b:' .. owner, -size)
    if redis.call('HINCRBY', totals, 'e:' .. owner, -1) <= 0 then
      redis.call('HDEL', totals, 'e:' .. owner, 'b:' .. owner)
    end
    if fate ~= '' then redis.call('HINCRBY', totals, fate .. ':' .. owner, 1) end
    found = found + 1
  end
end
return found
