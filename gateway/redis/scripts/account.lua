-- include: _budget
-- Settle a reservation with what the request really used; only the first call for an id counts. Also records what was
-- never reserved here: requests of an outage, and corrections of a cost, which may be negative.
-- KEYS: leases, reservations, usage stream, sums of the day, the hashes of the scopes, then the mark of the id.
-- ARGV: id, cost in nano-dollars (-1: what was granted, for a process that died), input tokens, output tokens, usage entry,
-- field of the day's sums, longest usage stream, seconds that the sums are kept, requests to count in the sums, and for
-- what was not reserved {scopes: [{name, budgets}]} as JSON, else '', then tokens read from and written to a cache.
-- Replies {1, [scope, budget, spent before, spent after, amount, …]} for budgets of which half is spent, where alerts begin,
-- or {0} for an id that has no reservation.
local LEASES, DATA, USAGE, SUMS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, cost, input, output = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stored = redis.call('HGET', DATA, id)
local reserved = stored and true or false
if not reserved then
  if ARGV[10] == '' or not redis.call('SET', KEYS[#KEYS], 1, 'NX', 'EX', 86400) then return {0} end
  stored = ARGV[10]
end
redis.call('HDEL', DATA, id)
redis.call('ZREM', LEASES, id)
local request = cjson.decode(stored)
if reserved and cost < 0 then cost, input, output = request.granted, request.input, 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local change = reserved and {input_tokens = input - request.input, output_tokens = output} or {}
local spent_by = {}
for i, scope in ipairs(request.scopes) do
  local key = KEYS[4 + i]
  if reserved then redis.call('HINCRBY', key, 'running', -1) end
  for kind, tokens in pairs(change) do
    local limit = scope.limits[kind]
    if limit and tokens ~= 0 then
      local held, counted_by = unpack(redis.call('HMGET', key, kind, kind .. ':limit'))
      local clock = math.max(now, tonumber(held or '0')) + tokens * 60000000 / (counted_by or limit)
      redis.call('HSET', key, kind, string.format('%.0f', math.max(now, clock)))
    end
  end
  for _, budget in ipairs(scope.budgets) do
    if reserved and request.granted > 0 then
      redis.call('HINCRBY', key, budget.name .. ':held', string.format('%.0f', -request.granted))
    end
    local after = spend(key, budget, now, cost)
    if after and after * 2 >= budget.amount then
      for _, value in ipairs({scope.name, budget.name, string.format('%.0f', after - cost),
                              string.format('%.0f', after), string.format('%.0f', budget.amount)}) do
        table.insert(spent_by, value)
      end
    end
  end
end
if ARGV[5] ~= '' then
  redis.call('XADD', USAGE, 'MAXLEN', '~', ARGV[7], '*', 'e', ARGV[5])
  if ARGV[6] ~= '' then
    redis.call('HINCRBY', SUMS, ARGV[6] .. '|requests', ARGV[9])
    redis.call('HINCRBY', SUMS, ARGV[6] .. '|input', string.format('%.0f', input))
    redis.call('HINCRBY', SUMS, ARGV[6] .. '|output', string.format('%.0f', output))
    redis.call('HINCRBY', SUMS, ARGV[6] .. '|cost', string.format('%.0f', cost))
    if ARGV[11] ~= '0' then redis.call('HINCRBY', SUMS, ARGV[6] .. '|cache_read', ARGV[11]) end
    if ARGV[12] ~= '0' then redis.call('HINCRBY', SUMS, ARGV[6] .. '|cache_write', ARGV[12]) end
    redis.call('EXPIRE', SUMS, ARGV[8])
  end
end
return {1, unpack(spent_by)}
