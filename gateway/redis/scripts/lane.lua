-- include: _time
-- Calls to one upstream with one key, against the limits that the operator has set (gateway/upstream/capacity/lanes.py).
-- KEYS: calls begun in the last minute, tokens counted in it, their amounts ('*': the sum), calls in flight, of these the
--       batches'. ARGV:
--    take, id, ms of the lease, most calls at once, most of batches, calls a minute, tokens a minute, tokens of this call;
--       0 is no limit, and `most of batches` is -1 for a live call. Replies {0, ''} or {ms to wait, the limit reached}.
--    leave, id, tokens reserved, tokens used; or renew, ms, id…
local CALLS, TOKENS, AMOUNTS, RUNNING, BATCHES = unpack(KEYS)
local verb, id = ARGV[1], ARGV[2]
local MINUTE, PAGE, SLACK = 60000, 500, 1000
local FULL = 1000 -- ms; calls end at any time
local now = now_ms()

local function number(index) return tonumber(ARGV[index]) end

-- Entries beyond the latest possible time are of a clock that was set back since.
local function forget(key, before, latest)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(before))
  redis.call('ZREMRANGEBYSCORE', key, '(' .. whole(latest + SLACK), '+inf')
end

local function keep(...)
  for _, key in ipairs({...}) do redis.call('PEXPIRE', key, 2 * MINUTE) end
end

local function count_tokens(name, amount)
  if redis.call('ZADD', TOKENS, 'NX', whole(now), name) == 0 then return end
  redis.call('HSET', AMOUNTS, name, amount)
  redis.call('HINCRBY', AMOUNTS, '*', amount)
  keep(TOKENS, AMOUNTS)
end

if verb == 'renew' then
  local ends = whole(now + number(2))
  for index = 3, #ARGV do
    redis.call('ZADD', RUNNING, 'XX', ends, ARGV[index])
    redis.call('ZADD', BATCHES, 'XX', ends, ARGV[index])
  end
  keep(RUNNING, BATCHES)
  return 1
end

if verb == 'leave' then
  redis.call('ZREM', RUNNING, id)
  redis.call('ZREM', BATCHES, id)
  local reserved, used = number(3), number(4)
  local counted = redis.call('HGET', AMOUNTS, id)
  if used > reserved then
    count_tokens(id .. ':more', used - reserved)
  elseif counted then
    redis.call('HSET', AMOUNTS, id, used)
    redis.call('HINCRBY', AMOUNTS, '*', used - tonumber(counted))
  end
  return 1
end

local lease, most, batches, calls, tokens, amount = number(3), number(4), number(5), number(6), number(7), number(8)
if redis.call('ZSCORE', RUNNING, id) then return {0, ''} end
local wait, reached = 0, ''
local function refuse(ms, limit)
  if ms > wait then wait, reached = ms, limit end
end

forget(RUNNING, now, now + lease)
forget(BATCHES, now, now + lease)
if most > 0 and redis.call('ZCARD', RUNNING) >= most then refuse(FULL, 'concurrency') end
if batches >= 0 and redis.call('ZCARD', BATCHES) >= batches then refuse(FULL, 'batch') end

if calls > 0 then
  forget(CALLS, now - MINUTE, now)
  local begun = redis.call('ZCARD', CALLS)
  if begun >= calls then
    local over = begun - calls
    refuse(redis.call('ZRANGE', CALLS, over, over, 'WITHSCORES')[2] + MINUTE - now, 'rpm')
  end
end

if tokens > 0 then
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', TOKENS, '-inf', whole(now - MINUTE), 'LIMIT', 0, PAGE)) do
    redis.call('HINCRBY', AMOUNTS, '*', -(redis.call('HGET', AMOUNTS, name) or 0))
    redis.call('HDEL', AMOUNTS, name)
    redis.call('ZREM', TOKENS, name)
  end
  local over = (redis.call('HGET', AMOUNTS, '*') or 0) + amount - tokens
  if over > 0 then
    local oldest, ends = redis.call('ZRANGE', TOKENS, 0, PAGE - 1, 'WITHSCORES'), MINUTE
    for index = 1, #oldest, 2 do
      over = over - (redis.call('HGET', AMOUNTS, oldest[index]) or 0)
      if over <= 0 then
        ends = oldest[index + 1] + MINUTE - now
        break
      end
    end
    refuse(math.max(1, math.min(MINUTE, ends)), 'tpm')
  end
end

if wait > 0 then return {math.ceil(wait), reached} end
redis.call('ZADD', RUNNING, whole(now + lease), id)
if batches >= 0 then redis.call('ZADD', BATCHES, whole(now + lease), id) end
keep(RUNNING, BATCHES)
if calls > 0 then
  redis.call('ZADD', CALLS, whole(now), id)
  keep(CALLS)
end
if tokens > 0 then count_tokens(id, amount) end
return {0, ''}
