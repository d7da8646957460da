-- include: _time
-- Keeps one answer of the prompt cache, and makes room for it among the entries of its shard.
-- KEYS: the entry, then the shard's index, used, totals and purged.
-- ARGV: fingerprint, the entry, ms to live, bytes that it counts as, bytes that the shard may have, tenant, model, ms
--       since the upstream was asked.
-- Replies {kept} or {purged}, then the fingerprints that had to go: the caller deletes their entries.
local entry, index, used, totals, purged = unpack(KEYS)
local fingerprint, blob, live, bytes, room, tenant, model, since = unpack(ARGV)

local now = now_ms()

local scopes = {'*', 't:' .. tenant, 'm:' .. model, 'k:' .. fingerprint, 't:' .. tenant .. ' m:' .. model}
for _, at in ipairs(redis.call('HMGET', purged, unpack(scopes))) do
  if at and tonumber(at) >= now - tonumber(since) then return {'purged'} end
end

-- Removes an entry from the index and counts it under its fate.
local function forget(which, fate)
  local record = redis.call('HGET', index, which)
  redis.call('HDEL', index, which)
  redis.call('ZREM', used, which)
  if not record then return end
  local size, _, owner = record:match('^(%d+) (%d+) (%S+)')
  redis.call('HINCRBY', totals, 'bytes', -size)
  redis.call('HINCRBY', totals, 'b:' .. owner, -size)
  if redis.call('HINCRBY', totals, 'e:' .. owner, -1) <= 0 then
    redis.call('HDEL', totals, 'e:' .. owner, 'b:' .. owner)
  end
  if fate then redis.call('HINCRBY', totals, fate .. ':' .. owner, 1) end
end

forget(fingerprint)
redis.call('HSET', index, fingerprint, bytes .. ' ' .. whole(now + live) .. ' ' .. tenant .. ' ' .. model)
redis.call('ZADD', used, whole(now), fingerprint)
redis.call('HINCRBY', totals, 'bytes', bytes)
redis.call('HINCRBY', totals, 'b:' .. tenant, bytes)
redis.call('HINCRBY', totals, 'e:' .. tenant, 1)
redis.call('SET', entry, blob, 'PX', live)

-- The least recently used go first; where that one has expired anyway, it goes though there is room.
local reply = {'kept'}
for _ = 1, 200 do
  local oldest = redis.call('ZRANGE', used, 0, 0)[1]
  if oldest == fingerprint then
    -- The only entry: the server has evicted all others together with the index.
    if redis.call('ZCARD', used) == 1 then redis.call('HSET', totals, 'bytes', bytes) end
    break
  end
  local expires = tonumber((redis.call('HGET', index, oldest) or '0 0'):match('^%d+ (%d+)'))
  local full = tonumber(redis.call('HGET', totals, 'bytes')) > tonumber(room)
  if expires > now and not full then break end
  forget(oldest, expires > now and 'out' or 'old')
  reply[#reply + 1] = oldest
end
return reply
