-- include: _batch
-- Make a staged batch visible, if all of it is still there.
-- ARGV: total, chunks, then the fields and values of the batch. Replies committed, or torn when staging has expired.
local chunks = tonumber(ARGV[2])

if redis.call('EXISTS', META) == 0 then
  -- `ids` holds one field more: the index of the chunks.
  if redis.call('HLEN', INPUT) ~= chunks or redis.call('HLEN', IDS) ~= chunks + 1 then
    return 'torn'
  end
  redis.call('HSET', META, 'total', ARGV[1], 'st', 'in_progress', 'next', 0, 'rest', '', 'spend', 0, unpack(ARGV, 3))
end
-- A crash before these two leaves an input that would expire: `settle` repeats them long before.
if redis.call('HGET', META, 'st') ~= 'ended' then
  redis.call('PERSIST', INPUT)
  redis.call('PERSIST', IDS)
end
return 'committed'
