-- include: _batch
-- Results from an index on, of about `bytes` in all. ARGV: first index, index to stop before, bytes.
-- Replies {recorded ok, recorded err, then each blob, false where there is none}.
local reply, size = {redis.call('HLEN', OK), redis.call('HLEN', ERR)}, 0
for index = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  local blob = redis.call('HGET', OK, index) or redis.call('HGET', ERR, index)
  reply[#reply + 1] = blob
  size = size + (blob and #blob or 0)
  if size >= tonumber(ARGV[3]) then break end
end
return reply
