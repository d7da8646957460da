-- include: _time
-- The shared state of the circuit of an upstream, or of one of its models. Without the key the circuit is closed.
-- KEYS: the circuit.
-- ARGV: pause|open, ms, which replies the incident's stamp: no call starts for so long; an open circuit then admits one
--       probe at a time;
--    or probe, nonce (repeating one gets the same answer), ms for the probe, which replies {ms to wait, 1 as the probe};
--    or close.
local circuit, verb = KEYS[1], ARGV[1]
local KEEP = 600000 -- ms; an open circuit without a probe for this long is forgotten

local now = now_ms()

if verb == 'close' then
  redis.call('DEL', circuit)
  return 1
end

local shut_until, stamp, open, probe, probe_until = unpack(
  redis.call('HMGET', circuit, 'until', 'stamp', 'open', 'probe', 'probe_until'))
shut_until = tonumber(shut_until or 0)

if verb == 'pause' or verb == 'open' then
  if not stamp or now >= shut_until then stamp = whole(now) end
  local ends = math.max(shut_until, now + tonumber(ARGV[2]))
  redis.call('HSET', circuit, 'until', whole(ends), 'stamp', stamp, 'open', verb == 'open' and 1 or open or 0)
  redis.call('HDEL', circuit, 'probe', 'probe_until')
  redis.call('PEXPIREAT', circuit, whole(ends + KEEP))
  return tonumber(stamp)
end

if now < shut_until then return {shut_until - now, 0} end
if open ~= '1' then return {0, 0} end
if probe and probe ~= ARGV[2] and now < tonumber(probe_until) then return {tonumber(probe_until) - now, 0} end
redis.call('HSET', circuit, 'probe', ARGV[2], 'probe_until', whole(now + tonumber(ARGV[3])))
redis.call('PEXPIREAT', circuit, whole(now + KEEP))
return {0, 1}
