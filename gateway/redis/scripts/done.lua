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

local function record(index, kind, blob, cost)
  local own, other = OK, ERR
  if kind == 'err' then own, other = ERR, OK end
  if redis.call('HEXISTS', other, index) == 1 or redis.call('HSETNX', own, index, blob) == 0 then return 0 end
  -- After a power loss in between, `spend` is too low by this item: it is a brake, no account.
  if tonumber(cost) > 0 then redis.call('HINCRBY', META, 'spend', cost) end
  return 1
end

for position = 1, #ARGV, 4 do
  reply[#reply + 1] = record(unpack(ARGV, position, position + 3))
  forget(ARGV[position])
end
if seal_if_over(now_ms()) then reply[1] = 1 end
return reply
