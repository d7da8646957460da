-- include: _batch
-- Lease up to `room` items to a worker, in this order: one item that was lost twice, and then no other, if the worker
-- is idle; items with an expired lease; retries that are due and new ones from the cursor, half of each, so that items
-- which fail again and again do not hold up the others.
-- ARGV: data version, worker, fence (fresh for each claim; repeating one gets the same grant), room, lease ms, idle 0|1.
-- Replies {status, alone 0|1, suspects waiting, ms until there is more (0: now), then index, tries, lost, refusals of each
-- item}.
local version, worker, fence = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local room, lease_ms, idle = math.min(tonumber(ARGV[4]), 200), tonumber(ARGV[5]), ARGV[6] == '1'

local SUSPECT_AFTER = 2 -- leases lost; a single loss would redeliver all of a killed worker's items one by one
local LOOKAHEAD = 1000 -- recorded items to pass over in one call after the cursor was set back
local SUSPECT_POLL = 500 -- ms until a batch with nothing but suspects is offered again

local stored, status, cursor, total, rest, expires, cap, spend, max_lost, longest_lease = unpack(
  redis.call('HMGET', META, 'v', 'st', 'next', 'total', 'rest', 'expires', 'cap', 'spend', 'max_lost', 'lease'))
local now = now_ms()
if not status then return {'missing'} end
if tonumber(stored) > version then return {'newer', 0, 0, 1000} end
if status == 'ended' then
  clear()
  return {'ended'}
end

local last = redis.call('HGET', GRANT, worker)
if last and string.sub(last, 1, #fence + 1) == fence .. ' ' then
  return cjson.decode(string.sub(last, #fence + 2))
end

local spent = cap ~= '' and tonumber(spend) >= tonumber(cap)
if status ~= 'in_progress' or rest ~= '' or spent or now >= tonumber(expires) then return {'stopped'} end

cursor, total, max_lost = tonumber(cursor), tonumber(total), tonumber(max_lost)
local start, taken = cursor, {}

-- Leases this item has lost, the present one included. Kept with the fence of the lost lease: counting it again after
-- a crash halfway changes nothing. Without an owner there was no grant to lose.
local function count_loss(index)
  local owner, known = redis.call('HGET', OWN, index), redis.call('HGET', LOST, index)
  local count, counted = string.match(known or '0 ', '^(%d+) (.*)$')
  if not owner or owner == counted then return tonumber(count) end
  redis.call('HSET', LOST, index, (count + 1) .. ' ' .. owner)
  return count + 1
end

local function take_suspect()
  for _ = 1, 16 do
    local index = redis.call('ZRANGE', SUSPECT, 0, 0)[1]
    if not index then return false end
    if recorded(index) then
      forget(index)
    elseif redis.call('ZSCORE', LEASE, index) then
      redis.call('ZREM', SUSPECT, index)
    else
      taken[1] = index
      return true
    end
  end
  return false
end

local function reclaim()
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', now, 'LIMIT', 0, room)) do
    local losses = recorded(index) and -1 or count_loss(index)
    if losses >= max_lost then
      redis.call('HSETNX', ERR, index, 'L') -- the line is made when it is read
    end
    if losses < 0 or losses >= max_lost then
      forget(index)
    elseif losses >= SUSPECT_AFTER then
      redis.call('ZADD', SUSPECT, 'NX', now, index)
      redis.call('ZREM', LEASE, index)
      redis.call('HDEL', OWN, index)
    else
      taken[#taken + 1] = index
    end
  end
end

local retries = 0 -- taken so far

local function take_retries(most)
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', RETRY, '-inf', now, 'LIMIT', retries, most)) do
    if recorded(index) then
      forget(index)
    elseif redis.call('ZSCORE', LEASE, index) then
      redis.call('ZREM', RETRY, index)
    else
      taken[#taken + 1] = index
      retries = retries + 1
    end
  end
end

-- Each item before the cursor is recorded or in flight, and so counted once here. More than that are only there
-- after a crash set the cursor back, or kept it from moving: then each item is looked at.
local function is_set_back()
  return redis.call('HLEN', OK) + redis.call('HLEN', ERR) + redis.call('ZCARD', LEASE) + redis.call('ZCARD', RETRY)
    + redis.call('ZCARD', SUSPECT) > cursor
end

local function in_flight(index)
  return redis.call('ZSCORE', LEASE, index) or redis.call('ZSCORE', RETRY, index)
    or redis.call('ZSCORE', SUSPECT, index)
end

local function take_new(set_back)
  local last_looked_at = math.min(total, cursor + LOOKAHEAD)
  while #taken < room and cursor < last_looked_at do
    if not set_back or not (recorded(cursor) or in_flight(cursor)) then taken[#taken + 1] = cursor end
    cursor = cursor + 1
  end
end

local function write_leases()
  -- The longest lease there was: one that ends later was given before the clock was set back.
  if lease_ms > tonumber(longest_lease or 0) then redis.call('HSET', META, 'lease', lease_ms) end
  local leases, owners = {}, {}
  for position, index in ipairs(taken) do
    leases[2 * position - 1], leases[2 * position] = whole(now + lease_ms), index
    owners[2 * position - 1], owners[2 * position] = index, fence
  end
  redis.call('ZADD', LEASE, unpack(leases))
  redis.call('HSET', OWN, unpack(owners))
  redis.call('ZREM', RETRY, unpack(taken))
  redis.call('ZREM', SUSPECT, unpack(taken))
end

-- In ms from now; 0 while there may be more to claim now.
local function next_time(suspects)
  if #taken == room or cursor < total then return 0 end
  local soonest = tonumber(expires)
  if suspects > 0 then soonest = math.min(soonest, now + SUSPECT_POLL) end
  for _, key in ipairs({LEASE, RETRY}) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first then soonest = math.min(soonest, tonumber(first)) end
  end
  return math.max(1, soonest - now)
end

local alone = idle and take_suspect()
if not alone then
  local set_back = is_set_back()
  reclaim()
  -- Half of an odd number, and of one, goes to either in turn: by chance, of which the fence is made.
  local odd = tonumber(string.sub(fence, -1), 16) or 0
  take_retries(cursor < total and math.floor((room - #taken + odd % 2) / 2) or room - #taken)
  take_new(set_back)
  if #taken < room then take_retries(room - #taken) end
  alone = idle and #taken == 0 and take_suspect() -- one that was only now found to be
end

if #taken > 0 then write_leases() end
if cursor ~= start then redis.call('HSET', META, 'next', cursor) end
if #taken == 0 and seal_if_over(now) then return {'ended'} end

local suspects = redis.call('ZCARD', SUSPECT)
local reply = {'granted', alone and 1 or 0, suspects, alone and 0 or next_time(suspects)}
if #taken > 0 then
  local refused = {}
  for position, index in ipairs(taken) do refused[position] = 'r' .. index end
  local tries, losses = redis.call('HMGET', TRIES, unpack(taken)), redis.call('HMGET', LOST, unpack(taken))
  local refusals = redis.call('HMGET', TRIES, unpack(refused))
  for position, index in ipairs(taken) do
    reply[#reply + 1] = tonumber(index)
    reply[#reply + 1] = tonumber(tries[position] or 0)
    reply[#reply + 1] = tonumber(string.match(losses[position] or '0', '^%d+'))
    reply[#reply + 1] = tonumber(refusals[position] or 0)
  end
end
redis.call('HSET', GRANT, worker, fence .. ' ' .. cjson.encode(reply))
return reply
