-- include: _time
-- Shared by the scripts on one batch's slot. KEYS are BatchKeys, in that order (gateway/redis/keys.py).
-- Rules they all keep: the server's clock only; results are written before leases go, leases before the cursor moves,
-- so that a crash after any of a script's writes loses no item and records none twice.
local META, INPUT, IDS, LEASE, OWN, RETRY, SUSPECT, LOST, TRIES, OK, ERR, GRANT = unpack(KEYS)

local function recorded(index)
  return redis.call('HEXISTS', OK, index) == 1 or redis.call('HEXISTS', ERR, index) == 1
end

-- At maxmemory Redis rejects every command that may take memory, but not once the script has written: from then on it
-- lets the script finish. Scripts that free memory start with this write, which changes nothing.
local function allow_at_maxmemory()
  redis.call('HDEL', META, '-')
end

-- These items are recorded: nothing about their being in flight matters any more.
local function forget(...)
  redis.call('ZREM', LEASE, ...)
  redis.call('HDEL', OWN, ...)
  redis.call('ZREM', RETRY, ...)
  redis.call('ZREM', SUSPECT, ...)
end

-- Delete the working keys of an ended batch, and let its shown keys expire. Safe to repeat: every script that meets an
-- ended batch runs it, since a crash may have cut it off.
local function clear()
  local archive, gone = unpack(redis.call('HMGET', META, 'archive', 'forget'))
  redis.call('UNLINK', INPUT, LEASE, OWN, RETRY, SUSPECT, LOST, TRIES, GRANT)
  redis.call('PEXPIREAT', OK, archive)
  redis.call('PEXPIREAT', ERR, archive)
  redis.call('PEXPIREAT', IDS, archive)
  redis.call('PEXPIREAT', META, gone)
end

-- End the batch when every item is recorded, or when it is stopped and has no item in flight or the grace has passed.
-- The tallies are counted from the results, here and nowhere else.
local function seal_if_over(now)
  local total, rest, stop, grace = unpack(redis.call('HMGET', META, 'total', 'rest', 'stop', 'grace'))
  local ok, err = redis.call('HLEN', OK), redis.call('HLEN', ERR)
  local over = ok + err >= tonumber(total)
  if not over and rest ~= '' then
    over = redis.call('ZCARD', LEASE) == 0 or now >= tonumber(stop) + tonumber(grace)
  end
  if over then
    redis.call('HSET', META, 'st', 'ended', 'ended', whole(now), 'n_ok', ok, 'n_err', err)
    clear()
  end
  return over
end

