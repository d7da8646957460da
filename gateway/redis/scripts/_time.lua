-- The server's clock, in milliseconds, and numbers as text.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Lua would print a large number with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

