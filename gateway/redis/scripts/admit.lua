-- include: _scopes
-- Admit one request against every limit and budget that applies to it, or against none.
-- KEYS: leases, reservations, versions, then one hash a scope. ARGV: the scopes as JSON, as the reservation keeps them; the
-- number of the client's records, their names and their versions; the scopes (`_scopes`); the lease in ms; then id, and
-- numbers with spaces: money wanted, the least of it, input tokens, and the part of each capacity that may be used.
-- Money is in nano-dollars, bounds of periods in seconds. A rate is a virtual clock (GCRA) in microseconds, a minute of
-- which may be used at once; `<rate>:limit` beside it is the limit that it was counted by.
-- `state…` are whole numbers: of each limited kind of rate the tightest limit, what remains and when it is full again, in
-- Unix seconds, then of each budget what was spent and held before this request, and when it ends.
-- Replies {'admitted', granted, state…} | {'refused', scope, kind, wait in ms, spent, state…} | {'stale'} |
-- {'period', now in s}.
local LEASES, DATA, VERSIONS = KEYS[1], KEYS[2], KEYS[3]
local records = tonumber(ARGV[2])
local scopes, at = read_scopes(3 + 2 * records)
local lease, id = tonumber(ARGV[at]), ARGV[at + 1]
local want, least, input, share = numbers_in(ARGV[at + 2])
local now = micros_now()
local cost = {requests = 1, input_tokens = input, output_tokens = 0}

local stored = redis.call('HGET', DATA, id)
if stored then return {'admitted', tonumber(string.match(stored, '"granted":([^,}]+)'))} end
local versions = redis.call('HMGET', VERSIONS, unpack(ARGV, 3, 2 + records))
for i = 1, records do
  if (versions[i] or '0') ~= ARGV[2 + records + i] then return {'stale'} end
end
for _, scope in ipairs(scopes) do
  for _, budget in ipairs(scope.budgets) do
    if now < budget.start * 1000000 or now >= budget.ends * 1000000 then
      return {'period', string.format('%.6f', now / 1000000)}  -- a rounded time might be in the next period
    end
  end
end

local tightest, granted, writes, budgets, refusal = {}, want, {}, {}, nil
-- Of several refusals the one that lasts longest counts; one of a spent budget before all others.
local function refuse(scope, kind, wait, spent)
  local rank = wait + (spent and 1e15 or 0)
  if not refusal or rank > refusal.rank then
    refusal = {rank = rank, scope = scope, kind = kind, wait = math.max(0, math.ceil(wait)), spent = spent or 0}
  end
end

-- Under a limit that was raised since, what was used is free again sooner.
local function clock_of(state, kind, limit)
  local clock = math.max(now, tonumber(state[kind] or '0'))
  local counted_by = tonumber(state[kind .. ':limit'])
  return counted_by and counted_by < limit and now + (clock - now) * counted_by / limit or clock
end

local function take_rate(scope, state, write, kind)
  local limit, clock, emission = scope[kind], clock_of(state, kind, scope[kind]), MINUTE / scope[kind]
  local room = MINUTE * share - (clock - now)
  local over = cost[kind] * emission - room
  if over > 0 or (kind == 'output_tokens' and room <= 0) then refuse(scope.name, kind, over / 1000) end
  clock = clock + cost[kind] * emission
  put(write, kind, clock)
  if tonumber(state[kind .. ':limit'] or '0') ~= limit then put(write, kind .. ':limit', limit) end
  local remaining, seen = math.floor(room / emission), tightest[kind]
  if not seen or remaining < seen.remaining then
    tightest[kind] = {remaining = remaining, limit = limit, full_at = math.ceil(clock / 1000000)}
  end
end

local function look_at_budget(scope, state, budget)
  local spent, held, ends = spent_of(state, budget, now), tonumber(state[budget.name .. ':held'] or '0'), budget.ends
  if budget.window > 0 then
    ends = math.ceil(freed_at(state, budget, now, math.max(1, spent + least - budget.amount)))
  end
  budgets[#budgets + 1] = {spent, held, ends}
  local room = budget.amount - spent - held
  if spent + least > budget.amount or spent >= budget.amount then
    refuse(scope.name, budget.name, ends * 1000 - math.floor(now / 1000), spent)
  elseif room < least or room <= 0 then
    refuse(scope.name, 'held:' .. budget.name, 2000)
  end
  granted = math.min(granted, room)
end

local states = {}
for i, scope in ipairs(scopes) do
  local state, write = state_of(KEYS[3 + i]), {}
  for _, kind in ipairs(RATES) do
    if scope[kind] then take_rate(scope, state, write, kind) end
  end
  local running = tonumber(state.running or '0')
  if scope.concurrency and running >= math.max(1, math.floor(scope.concurrency * share)) then
    refuse(scope.name, 'concurrency', 1000)
  end
  put(write, 'running', running + 1)
  for _, budget in ipairs(scope.budgets) do look_at_budget(scope, state, budget) end
  states[i], writes[i] = state, write
end

local function add(reply, numbers)
  for i = 1, 3 do reply[#reply + 1] = numbers[i] end
end

local function with_state(reply)
  for _, kind in ipairs(RATES) do
    local rate = tightest[kind]
    if rate then add(reply, {rate.limit, math.max(0, rate.remaining - cost[kind]), rate.full_at}) end
  end
  for _, budget in ipairs(budgets) do add(reply, budget) end
  return reply
end

if refusal then
  return with_state({'refused', refusal.scope, refusal.kind, refusal.wait, refusal.spent})
end
for i, scope in ipairs(scopes) do
  local write = writes[i]
  for _, budget in ipairs(scope.budgets) do
    if budget.window == 0 and tonumber(states[i][budget.name .. ':start'] or '-1') ~= budget.start then
      put(write, budget.name .. ':start', budget.start)
      put(write, budget.name .. ':spent', 0)
    end
    put(write, budget.name .. ':held', tonumber(states[i][budget.name .. ':held'] or '0') + granted)
  end
  redis.call('HSET', KEYS[3 + i], unpack(write))
end
if #scopes > 0 then
  local reservation = '{"granted":' .. whole(granted) .. ',"input":' .. whole(input) .. ',"scopes":' .. ARGV[1] .. '}'
  redis.call('HSET', DATA, id, reservation)
  redis.call('ZADD', LEASES, whole(now / 1000 + lease), id)
end
return with_state({'admitted', granted})
