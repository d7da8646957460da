-- include: _budget
-- The scopes that a request counts in, and their hashes. In ARGV: the number of scopes, and for each its name, limits of
-- requests, input tokens, output tokens and concurrency ('' for none), the number of its budgets, and for each of these its
-- name, amount, start, end and window.
local RATES = {'requests', 'input_tokens', 'output_tokens'}
local MINUTE = 60000000

-- Returns the scopes, and the index of the next argument.
local function read_scopes(at)
  local scopes = {}
  for i = 1, tonumber(ARGV[at]) do
    local budgets = {}
    scopes[i] = {name = ARGV[at + 1], requests = tonumber(ARGV[at + 2]), input_tokens = tonumber(ARGV[at + 3]),
                 output_tokens = tonumber(ARGV[at + 4]), concurrency = tonumber(ARGV[at + 5]), budgets = budgets}
    local count = tonumber(ARGV[at + 6])
    at = at + 6
    for j = 1, count do
      budgets[j] = {name = ARGV[at + 1], amount = tonumber(ARGV[at + 2]), start = tonumber(ARGV[at + 3]),
                    ends = tonumber(ARGV[at + 4]), window = tonumber(ARGV[at + 5])}
      at = at + 5
    end
  end
  return scopes, at + 1
end

local function state_of(key)
  local state, fields = {}, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do state[fields[i]] = fields[i + 1] end
  return state
end

local function micros_now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Lua would print a large number with an exponent. `%d` takes a quarter of the time, but not every number.
local function whole(number)
  if number > -4e15 and number < 4e15 then return string.format('%d', math.floor(number + 0.5)) end
  return string.format('%.0f', number)
end

-- Have a field written.
local function put(write, field, number)
  write[#write + 1] = field
  write[#write + 1] = whole(number)
end

-- An argument with several numbers takes a server less than several arguments. It has four or six.
local function numbers_in(text)
  local a, b, c, d, e, f = string.match(text, '^(%S+) (%S+) (%S+) (%S+) ?(%S*) ?(%S*)$')
  return tonumber(a), tonumber(b), tonumber(c), tonumber(d), tonumber(e), tonumber(f)
end
