-- include: _batch
-- Record results: the first to arrive wins, also without the lease. ARGV: index, ok|err, blob, cost in micro-dollars, ….
-- Replies {batch ended 0|1, then per item 1 recorded, 0 another result was first, -1 the batch ended without it}.
local status, total, rest = unpack(redis.call('HMGET', META, 'st', 'total', 'rest'))
local is_open = status and status ~= 'ended'
local reply, indices, spend = {is_open and 0 or 1}, {}, 0

for position = 1, #ARGV, 4 do
  if is_open and tonumber(ARGV[position]) >= tonumber(total) then
    return redis.error_reply('ERR no such item in the batch')
  end
end

local function record(index, kind, blob, cost)
  local own, other = OK, ERR
  if kind == 'err' then own, other = ERR, OK end
  if is_open and redis.call('HEXISTS', other, index) == 0 and redis.call('HSETNX', own, index, blob) == 1 then
    spend = spend + tonumber(cost)
    return 1
  end
  -- The very same result: this is a repetition of the call that recorded it.
  if redis.call('HGET', own, index) == blob then return 1 end
  return is_open and 0 or -1
end

-- The last results of a batch that is stopping free more memory than they take.
if is_open and rest ~= '' then allow_at_maxmemory() end
for position = 1, #ARGV, 4 do
  indices[#indices + 1] = ARGV[position]
  reply[#reply + 1] = record(unpack(ARGV, position, position + 3))
end
if not is_open then
  if status then clear() end
  return reply
end
-- After a crash before this, `spend` is too low by these items: it is a brake, no account.
if spend > 0 then redis.call('HINCRBY', META, 'spend', whole(spend)) end
forget(unpack(indices))
if seal_if_over(now_ms()) then reply[1] = 1 end
return reply
