-- What all workers know of an upstream, or of one of its models: shut until a time, and then, if broken, for all but one
-- probe. Without the key it is open. KEYS: the gate.
-- ARGV: shut, ms, broken 0|1, which replies the incident's stamp;
--    or probe, nonce (repeating one gets the same answer), ms for it, which replies {ms to wait, 1 as the probe};
--    or open.
local gate, verb = KEYS[1], ARGV[1]
local KEEP = 600000 -- ms; a broken gate that nobody asks about for so long is forgotten

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Lua would print a large number with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

if verb == 'open' then
  redis.call('DEL', gate)
  return 1
end

local shut_until, stamp, broken, probe, probe_until = unpack(
  redis.call('HMGET', gate, 'until', 'stamp', 'broken', 'probe', 'probe_until'))
shut_until = tonumber(shut_until or 0)

if verb == 'shut' then
  if not stamp or now >= shut_until then stamp = whole(now) end
  local ends = math.max(shut_until, now + tonumber(ARGV[2]))
  redis.call('HSET', gate, 'until', whole(ends), 'stamp', stamp, 'broken', ARGV[3] == '1' and 1 or broken or 0)
  redis.call('HDEL', gate, 'probe', 'probe_until')
  redis.call('PEXPIREAT', gate, whole(ends + KEEP))
  return tonumber(stamp)
end

if now < shut_until then return {shut_until - now, 0} end
if broken ~= '1' then return {0, 0} end
if probe and probe ~= ARGV[2] and now < tonumber(probe_until) then return {tonumber(probe_until) - now, 0} end
redis.call('HSET', gate, 'probe', ARGV[2], 'probe_until', whole(now + tonumber(ARGV[3])))
redis.call('PEXPIREAT', gate, whole(now + KEEP))
return {0, 1}
