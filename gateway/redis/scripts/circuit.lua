-- include: _time
-- The shared state of a circuit (gateway/upstream/health/circuits.py). Without the key the circuit is closed. KEYS: the circuit.
-- ARGV: pause|open, ms, which replies the incident's stamp: no call starts for so long; an open circuit then admits one
--       probe at a time;
--    or probe, nonce (repeating one gets the same answer), ms for the probe, which replies {ms to wait, 1 as the probe};
--    or close.
local circuit, verb = KEYS[1], ARGV[1]
local KEEP = 600000 -- ms; an open circuit without a probe for this long is forgotten
local PROBED = 1000 -- ms; when to ask again while another call probes

local now = now_ms()

if verb == 'close' then
  redis.call('DEL', circuit)
  return 1
end

local shut_until, length, stamp, open, probe, probe_until = unpack(
  redis.call('HMGET', circuit, 'until', 'length', 'stamp', 'open', 'probe', 'probe_until'))
shut_until = tonumber(shut_until or 0)
-- If more is left than there was at first, the clock was set back.
if shut_until - now > tonumber(length or KEEP) then shut_until = now end

if verb == 'pause' or verb == 'open' then
  if not stamp or now >= shut_until then stamp = whole(math.max(now, tonumber(stamp or 0) + 1)) end
  local ends = math.max(shut_until, now + tonumber(ARGV[2]))
  redis.call('HSET', circuit, 'until', whole(ends), 'length', whole(ends - now), 'stamp', stamp,
    'open', verb == 'open' and 1 or open or 0)
  redis.call('HDEL', circuit, 'probe', 'probe_until')
  redis.call('PEXPIREAT', circuit, whole(ends + KEEP))
  return tonumber(stamp)
end

if now < shut_until then return {shut_until - now, 0} end
if open ~= '1' then return {0, 0} end
local left = tonumber(probe_until or 0) - now
if probe and probe ~= ARGV[2] and left > 0 and left <= tonumber(ARGV[3]) then return {math.min(left, PROBED), 0} end
redis.call('HSET', circuit, 'probe', ARGV[2], 'probe_until', whole(now + tonumber(ARGV[3])))
redis.call('PEXPIREAT', circuit, whole(now + KEEP))
return {0, 1}
