-- include: _scopes
-- Settle a reservation with what the request really used; only the first call for an id counts. Also records what was
-- never reserved here: requests of an outage, and corrections of a cost, which may be negative.
-- KEYS: leases, reservations, usage stream, sums of the day, the hashes of the scopes, then, for what was not reserved, the
-- mark of the id. ARGV: longest usage stream, seconds that the sums are kept, the scopes (`_scopes`), then id, usage
-- entry, field of the day's sums, and numbers with spaces: cost in nano-dollars (-1: what was granted, for a process that
-- died), input tokens, output tokens, requests to count in the sums, tokens read from a cache and written to one.
-- Replies {1, [scope, budget, spent before, spent after, amount, …]} for budgets of which half is spent, where alerts begin,
-- or {0} for an id that has no reservation.
local LEASES, DATA, USAGE, SUMS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local scopes, at = read_scopes(3)
local id, entry, sums = ARGV[at], ARGV[at + 1], ARGV[at + 2]
local cost, input, output, requests, cache_read, cache_write = numbers_in(ARGV[at + 3])
local mark, granted, change = KEYS[5 + #scopes], 0, {}
local reserved = redis.call('HGET', DATA, id)
if reserved then
  local expected = tonumber(string.match(reserved, '"input":([^,}]+)'))
  granted = tonumber(string.match(reserved, '"granted":([^,}]+)'))
  if cost < 0 then cost, input, output = granted, expected, 0 end
  change = {input_tokens = input - expected, output_tokens = output}
  redis.call('HDEL', DATA, id)
  redis.call('ZREM', LEASES, id)
elseif not mark or not redis.call('SET', mark, 1, 'NX', 'EX', 86400) then
  return {0}
end
local now = micros_now()

-- Give back what the reservation held, and count the tokens by the limit that the rate's clock is counted by.
local function release(key, scope, state)
  local write = {}
  put(write, 'running', tonumber(state.running or '0') - 1)
  for kind, tokens in pairs(change) do
    if scope[kind] and tokens ~= 0 then
      local clock = math.max(now, tonumber(state[kind] or '0'))
      clock = clock + tokens * MINUTE / tonumber(state[kind .. ':limit'] or scope[kind])
      put(write, kind, math.max(now, clock))
    end
  end
  for _, budget in ipairs(scope.budgets) do
    put(write, budget.name .. ':held', tonumber(state[budget.name .. ':held'] or '0') - granted)
  end
  redis.call('HSET', key, unpack(write))
end

local spent_by = {}
for i, scope in ipairs(scopes) do
  local key = KEYS[4 + i]
  local state = state_of(key)
  if reserved then release(key, scope, state) end
  for _, budget in ipairs(scope.budgets) do
    local after = spend(key, state, budget, now, cost)
    if after and after * 2 >= budget.amount then
      for _, value in ipairs({scope.name, budget.name, whole(after - cost), whole(after), whole(budget.amount)}) do
        spent_by[#spent_by + 1] = value
      end
    end
  end
end
if entry ~= '' then
  redis.call('XADD', USAGE, 'MAXLEN', '~', ARGV[1], '*', 'e', entry)
  if sums ~= '' then
    if redis.call('HINCRBY', SUMS, sums .. '|requests', whole(requests)) == requests then
      redis.call('EXPIRE', SUMS, ARGV[2])  -- the day may have begun with it
    end
    redis.call('HINCRBY', SUMS, sums .. '|input', whole(input))
    redis.call('HINCRBY', SUMS, sums .. '|output', whole(output))
    redis.call('HINCRBY', SUMS, sums .. '|cost', whole(cost))
    if cache_read > 0 then redis.call('HINCRBY', SUMS, sums .. '|cache_read', whole(cache_read)) end
    if cache_write > 0 then redis.call('HINCRBY', SUMS, sums .. '|cache_write', whole(cache_write)) end
  end
end
return {1, unpack(spent_by)}
