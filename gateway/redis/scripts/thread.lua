-- include: _time
-- One server-held conversation (gateway/threads). KEYS: the thread. Without the key it has expired, or never was.
-- Every write that matters is one HSET, so that a crash cannot leave a part of a conversation.
-- ARGV: claim, reply's id, nonce (repeating one gets the same answer), ms of lease, ms to live, data version: continue
--         from that reply. Replies {missing}, {continued}, {in_flight}, or {claimed, stop, size, base, each turn};
--    or keep, nonce (empty for a new thread), ms to live, reply's id, its stop_reason, size of all, the turn, then for a
--         new thread data version and base: the turn has ended. Replies kept, or lost when the claim is another's;
--    or hold, nonce, ms of lease, ms to live: the turn goes on. Replies 1, or 0 when the claim is another's;
--    or release, nonce: the turn came to nothing, and the thread is where it was.
local thread, verb = KEYS[1], ARGV[1]

local now = now_ms()

if verb == 'claim' then
  local id, nonce, lease, live, version = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  local stored, head, claim, held_until, turns, stop, size, base = unpack(
    redis.call('HMGET', thread, 'v', 'head', 'claim', 'until', 'turns', 'stop', 'size', 'base'))
  if not head or tonumber(stored) > tonumber(version) then return {'missing'} end
  if redis.call('HEXISTS', thread, 'id:' .. id) == 0 then return {'missing'} end
  if head ~= id then return {'continued'} end
  if claim ~= '' and claim ~= nonce and now < tonumber(held_until) then return {'in_flight'} end
  redis.call('HSET', thread, 'claim', nonce, 'until', whole(now + lease))
  redis.call('PEXPIRE', thread, live)
  local reply = {'claimed', stop, size, base}
  for turn = 0, tonumber(turns) - 1 do
    reply[#reply + 1] = redis.call('HGET', thread, turn)
  end
  return reply
end

if verb == 'keep' then
  local nonce, live, id, stop, size, blob, version, base = unpack(ARGV, 2)
  local head, claim, turns = unpack(redis.call('HMGET', thread, 'head', 'claim', 'turns'))
  if head ~= id then
    if not head and version then
      turns = 0
      redis.call('HSET', thread, 'v', version)
      redis.call('PEXPIRE', thread, live)
      redis.call('HSET', thread, 'base', base)
    elseif claim ~= nonce or nonce == '' then
      return 'lost'
    end
    redis.call('HSET', thread, turns, blob, 'id:' .. id, turns, 'turns', turns + 1, 'head', id, 'stop', stop,
      'size', size, 'claim', '', 'until', 0)
  end
  redis.call('PEXPIRE', thread, live)
  return 'kept'
end

if redis.call('HGET', thread, 'claim') ~= ARGV[2] then return 0 end
if verb == 'hold' then
  redis.call('HSET', thread, 'until', whole(now + ARGV[3]))
  redis.call('PEXPIRE', thread, ARGV[4])
else
  redis.call('HSET', thread, 'claim', '', 'until', 0)
end
return 1
