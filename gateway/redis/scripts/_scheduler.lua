-- include: _time
-- Shared by the scheduler's scripts. KEYS start with SchedulerKeys, in that order (gateway/redis/keys.py).
-- Virtual time: each claimed item moves its tenant and its batch on by 1; the one furthest behind is next.
-- The time of a batch begins at its order (0: high priority, 1: normal, 2: low) times PRIORITY, so that a tenant's batches
-- go by priority first. Levels come before tenants: of the batches that may go before, or after, those of all tenants.
-- All of this is a hint. A batch's own keys decide what may be claimed, and the sweeper restores what is lost here.
-- Times to wait are given as ms from now: the clock of the server that holds the batch may differ from this one's.
local RECORDS, WAKE, DUE = KEYS[1], KEYS[2], KEYS[3]
local TENANTS = {[0] = KEYS[4], [1] = KEYS[5], [2] = KEYS[6]}
local READY = {[0] = KEYS[7], [1] = KEYS[8], [2] = KEYS[9]}
local PRIORITY = 1000000000000

-- Fixed width, so that the order of the text is the order of the numbers.
local function stamp(time)
  return string.format('%020.6f', time)
end

local function find(batch)
  local record = redis.call('HGET', RECORDS, batch)
  if not record then return nil end
  local level, tenant, time = string.match(record, '^(%d) (%S+) (%S+)$')
  return {level = tonumber(level), order = math.floor(tonumber(time) / PRIORITY), tenant = tenant, time = time,
    entry = tenant .. ' ' .. time .. ' ' .. batch}
end

local function first_entry(level, tenant)
  return redis.call('ZRANGEBYLEX', READY[level], '[' .. tenant .. ' ', '(' .. tenant .. '!', 'LIMIT', 0, 1)[1]
end

-- A newcomer, or one that was away, starts level with the one furthest behind: it neither starves nor takes over.
local function make_ready(batch, level, order, tenant)
  local first = redis.call('ZRANGEBYLEX', READY[level], '[' .. tenant .. ' ' .. stamp(order * PRIORITY),
    '(' .. tenant .. ' ' .. stamp((order + 1) * PRIORITY), 'LIMIT', 0, 1)[1]
  local time = first and string.match(first, '^%S+ (%S+)') or stamp(order * PRIORITY)
  redis.call('HSET', RECORDS, batch, level .. ' ' .. tenant .. ' ' .. time)
  if not redis.call('ZSCORE', TENANTS[level], tenant) then
    redis.call('ZADD', TENANTS[level], redis.call('ZRANGE', TENANTS[level], 0, 0, 'WITHSCORES')[2] or 0, tenant)
  end
  redis.call('ZADD', READY[level], 0, tenant .. ' ' .. time .. ' ' .. batch)
end

local function is_ready(record)
  return redis.call('ZSCORE', READY[record.level], record.entry) and redis.call('ZSCORE', TENANTS[record.level], record.tenant)
end

-- True when the batch was ready.
local function unready(record)
  local removed = redis.call('ZREM', READY[record.level], record.entry) == 1
  if not first_entry(record.level, record.tenant) then
    redis.call('ZREM', TENANTS[record.level], record.tenant)
  end
  return removed
end
