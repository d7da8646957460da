-- include: _batch
-- Record results: the first to arrive wins, whoever holds the lease. ARGV: index, ok|err, blob, cost in micro-dollars, ….
-- Replies {sealed 0|1, then per item 1 recorded, 0 another result was first, -1 the batch has ended or is gone}.
local status, total = unpack(redis.call('HMGET', META, 'st', 'total'))
local reply = {0}
if not status or status == 'ended' then
  for _ = 1, #ARGV, 4 do reply[#reply + 1] = -1 end
  return reply
end
for position = 1, #ARGV, 4 do
  if tonumber(ARGV[position]) >= tonumber(total) then return redis.error_reply('ERR no such item in the batch') end
end

local function record(index, kind, blob)
  local own, other = OK, ERR
  if kind == 'err' then own, other = ERR, OK end
  if redis.call('HEXISTS', other, index) == 1 then return 0 end
  return redis.call('HSETNX', own, index, blob)
end

local indices, spend = {}, 0
for position = 1, #ARGV, 4 do
  local recorded_now = record(unpack(ARGV, position, position + 2))
  indices[#indices + 1] = ARGV[position]
  reply[#reply + 1] = recorded_now
  spend = spend + recorded_now * tonumber(ARGV[position + 3])
end
-- After a crash before this, `spend` is too low by these items: it is a brake, no account.
if spend > 0 then redis.call('HINCRBY', META, 'spend', whole(spend)) end
forget(unpack(indices))
if seal_if_over(now_ms()) then reply[1] = 1 end
return reply
