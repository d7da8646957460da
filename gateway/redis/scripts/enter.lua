-- Enter requests that nothing limits in the usage reports, once for each group of a process' requests.
-- KEYS: number of the latest group that this process has entered, usage stream, sums of the day.
-- ARGV: number of this group, milliseconds to keep the number, entries to keep, seconds to keep the sums, number of entries, the entries, then
-- name and value of each sum.
-- Replies the names of the sums that could not be added to.
local LATEST, USAGE, SUMS = unpack(KEYS)
local refused = {}
if tonumber(redis.call('GET', LATEST) or '0') >= tonumber(ARGV[1]) then return refused end
redis.call('SET', LATEST, ARGV[1], 'PX', ARGV[2])
local entries = tonumber(ARGV[5])
for i = 6, 5 + entries do redis.call('XADD', USAGE, 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[i]) end
for i = 6 + entries, #ARGV, 2 do
  local added = redis.pcall('HINCRBY', SUMS, ARGV[i], ARGV[i + 1])
  if type(added) == 'table' and added.err then refused[#refused + 1] = ARGV[i] end
end
redis.call('EXPIRE', SUMS, ARGV[4])
return refused
