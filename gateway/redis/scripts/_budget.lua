-- What a budget has spent, by the hash of its scope. A calendar budget has one sum with the start of its period; a
-- rolling one has a sum for each of 61 parts of its window, in a field "<part> <sum>" that the next round replaces. The
-- oldest part counts whole, so that a window is never shorter than it should be.
local PARTS = 61

local function part_of(budget, now)
  return math.floor(now / 1000000 * 60 / budget.window)
end

local function sums_of(state, budget, now)
  local sums, newest = {}, part_of(budget, now)
  for i = 0, PARTS - 1 do
    local part, sum = string.match(state[budget.name .. ':' .. i] or '', '^(%d+) (-?%d+)$')
    if part and tonumber(part) > newest - PARTS then table.insert(sums, {tonumber(part), tonumber(sum)}) end
  end
  return sums
end

local function spent_of(state, budget, now)
  if budget.window == 0 then
    local start, spent = state[budget.name .. ':start'], state[budget.name .. ':spent']
    return tonumber(start or '-1') == budget.start and tonumber(spent or '0') or 0
  end
  local spent = 0
  for _, one in ipairs(sums_of(state, budget, now)) do spent = spent + one[2] end
  return spent
end

-- The time, in seconds since 1970, when `amount` of a rolling budget's spend will be older than its window.
local function freed_at(state, budget, now, amount)
  local sums = sums_of(state, budget, now)
  table.sort(sums, function(one, other) return one[1] < other[1] end)
  for _, one in ipairs(sums) do
    amount = amount - one[2]
    if amount <= 0 then return (one[1] + PARTS) * budget.window / 60 end
  end
  return now / 1000000 + budget.window
end

-- Add a cost to the period that a request was admitted in, unless the budget has begun another one since. Returns what
-- the budget has spent then, nil for a period that is over.
local function spend(key, state, budget, now, cost)
  if budget.window == 0 then
    local start = tonumber(state[budget.name .. ':start'] or '-1')
    if start > budget.start then return nil end
    if start < budget.start then
      redis.call('HSET', key, budget.name .. ':start', string.format('%.0f', budget.start), budget.name .. ':spent', '0')
    end
    return redis.call('HINCRBY', key, budget.name .. ':spent', string.format('%.0f', cost))
  end
  local part = part_of(budget, now)
  local field = budget.name .. ':' .. (part % PARTS)
  local held, sum = string.match(state[field] or '', '^(%d+) (-?%d+)$')
  if tonumber(held or '-1') ~= part then sum = '0' end
  state[field] = string.format('%.0f %.0f', part, tonumber(sum) + cost)
  redis.call('HSET', key, field, state[field])
  return spent_of(state, budget, now)
end
