-- include: _budget
-- Admit one request against every limit and budget that applies to it, or against none.
-- KEYS: leases, reservations, versions, then one hash a scope. ARGV: id, lease in ms, the request as JSON:
--   {want, least, input, share, scopes: [{name, record, version, limits: {requests, input_tokens, output_tokens, concurrency},
--                                  budgets: [{name, amount, start, ends, window}]}]}
-- Money is in nano-dollars, bounds of periods in seconds. `share` is the part of each capacity that may be used.
-- A rate is a virtual clock (GCRA) in microseconds, a minute of which may be used at once; `<rate>:limit` beside it is the
-- limit that it was counted by.
-- `state` is JSON: by kind of rate the tightest {limit, remaining, full at}, in Unix seconds, and `budgets`: {scope, name, spent,
-- held, amount, ends} of each budget, before this request.
-- Replies {'admitted', granted, state} | {'refused', scope, kind, wait in ms, state} | {'stale', scope} | {'period', now in s}.
local LEASES, DATA, VERSIONS = KEYS[1], KEYS[2], KEYS[3]
local id, lease, request = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local MINUTE = 60000000
local RATES = {'requests', 'input_tokens', 'output_tokens'}
local cost = {requests = 1, input_tokens = request.input, output_tokens = 0}

if redis.call('HEXISTS', DATA, id) == 1 then
  return {'admitted', cjson.decode(redis.call('HGET', DATA, id)).granted, '{}'}
end
for i, scope in ipairs(request.scopes) do
  if (redis.call('HGET', VERSIONS, scope.record) or '0') ~= scope.version then return {'stale', scope.name} end
  for _, budget in ipairs(scope.budgets) do
    if now < budget.start * 1000000 or now >= budget.ends * 1000000 then
      return {'period', string.format('%.6f', now / 1000000)}  -- a rounded time might be in the next period
    end
  end
end

local tightest, granted, writes, refusal, budgets = {}, request.want, {}, nil, {}
local function refuse(scope, kind, wait)
  if not refusal or wait > refusal[4] then refusal = {'refused', scope, kind, math.max(0, math.ceil(wait))} end
end

for i, scope in ipairs(request.scopes) do
  local key, write = KEYS[3 + i], {}
  for _, kind in ipairs(RATES) do
    local limit = scope.limits[kind]
    if limit then
      local held, counted_by = unpack(redis.call('HMGET', key, kind, kind .. ':limit'))
      local clock = math.max(now, tonumber(held or '0'))
      -- Under a limit that was raised since, what was used is free again sooner.
      if counted_by and tonumber(counted_by) < limit then clock = now + (clock - now) * counted_by / limit end
      local emission = MINUTE / limit
      local room = MINUTE * request.share - (clock - now)
      local remaining = math.floor(room / emission)
      if cost[kind] * emission > room or (kind == 'output_tokens' and room <= 0) then
        refuse(scope.name, kind, (cost[kind] * emission - room) / 1000)
      end
      clock = clock + cost[kind] * emission
      table.insert(write, kind)
      table.insert(write, string.format('%.0f', clock))
      if tonumber(counted_by or '0') ~= limit then
        table.insert(write, kind .. ':limit')
        table.insert(write, string.format('%.0f', limit))
      end
      local seen = tightest[kind]
      if not seen or remaining < seen[2] then
        tightest[kind] = {limit, math.max(0, remaining - cost[kind]), string.format('%.0f', math.ceil(clock / 1000000))}
      end
    end
  end
  if scope.limits.concurrency then
    local running = tonumber(redis.call('HGET', key, 'running') or '0')
    if running >= math.max(1, math.floor(scope.limits.concurrency * request.share)) then
      refuse(scope.name, 'concurrency', 1000)
    end
  end
  for _, budget in ipairs(scope.budgets) do
    local spent = spent_of(key, budget, now)
    local held = tonumber(redis.call('HGET', key, budget.name .. ':held') or '0')
    local ends = budget.ends
    if budget.window > 0 then
      ends = math.ceil(freed_at(key, budget, now, math.max(1, spent + request.least - budget.amount)))
    end
    table.insert(budgets, {scope.name, budget.name, string.format('%.0f', spent), string.format('%.0f', held),
                           string.format('%.0f', budget.amount), string.format('%.0f', ends)})
    if spent + request.least > budget.amount or spent >= budget.amount then
      refuse(scope.name, budget.name, 1e15)
      refusal[4], refusal[6] = ends * 1000 - math.floor(now / 1000), string.format('%.0f', spent)
      break
    end
    local room = budget.amount - spent - held
    if room < request.least or room <= 0 then
      refuse(scope.name, 'held:' .. budget.name, 2000)
    end
    granted = math.min(granted, room)
  end
  writes[i] = write
end

for _, rate in pairs(tightest) do rate[1], rate[2] = string.format('%.0f', rate[1]), string.format('%.0f', rate[2]) end
if #budgets > 0 then tightest.budgets = budgets end
local state = cjson.encode(tightest)
if refusal then
  return {refusal[1], refusal[2], refusal[3], string.format('%.0f', refusal[4]), state, refusal[6] or ''}
end
for i, scope in ipairs(request.scopes) do
  local key, write = KEYS[3 + i], writes[i]
  if #write > 0 then redis.call('HSET', key, unpack(write)) end
  redis.call('HINCRBY', key, 'running', 1)
  for _, budget in ipairs(scope.budgets) do
    if budget.window == 0 and tonumber(redis.call('HGET', key, budget.name .. ':start') or '-1') ~= budget.start then
      redis.call('HSET', key, budget.name .. ':start', string.format('%.0f', budget.start), budget.name .. ':spent', '0')
    end
    redis.call('HINCRBY', key, budget.name .. ':held', string.format('%.0f', granted))
  end
end
request.granted = granted
redis.call('HSET', DATA, id, cjson.encode(request))
redis.call('ZADD', LEASES, string.format('%.0f', now / 1000 + lease), id)
return {'admitted', string.format('%.0f', granted), state}
