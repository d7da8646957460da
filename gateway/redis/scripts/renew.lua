-- include: _batch
-- Extend the leases that the claim with this fence still holds.
-- ARGV: fence, lease ms, indices. Replies {status, indices lost}: running, stopping, ended or missing.
local fence, lease_ms, now = ARGV[1], tonumber(ARGV[2]), now_ms()
local status, rest = unpack(redis.call('HMGET', META, 'st', 'rest'))

local reply = {'running'}
if not status then
  reply[1] = 'missing'
elseif status == 'ended' then
  reply[1] = 'ended'
elseif rest ~= '' then
  reply[1] = 'stopping'
end
for position = 3, #ARGV do
  local index = ARGV[position]
  if redis.call('HGET', OWN, index) == fence and redis.call('ZSCORE', LEASE, index) then
    redis.call('ZADD', LEASE, 'XX', whole(now + lease_ms), index)
  else
    reply[#reply + 1] = tonumber(index)
  end
end
return reply
