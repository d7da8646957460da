-- include: _scheduler
-- The batch to claim from next: at the highest level that has one, of the tenant furthest behind, its batch furthest
-- behind. Charges the items asked for. KEYS[10]: this worker's last pick. ARGV: nonce (repeating one gets the same batch),
-- items. Replies the batch's id, or nothing.
local nonce, items = ARGV[1], tonumber(ARGV[2])
local last = redis.call('GET', KEYS[10])
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then return string.sub(last, #nonce + 2) end

for _, batch in ipairs(redis.call('ZRANGEBYSCORE', WAKE, '-inf', now_ms(), 'LIMIT', 0, 64)) do
  local record = find(batch)
  if record and not is_ready(record) then make_ready(batch, record.level, record.order, record.tenant) end
  redis.call('ZREM', WAKE, batch)
end

local function charge(level, tenant, entry, batch, time)
  local later = stamp(tonumber(time) + items)
  redis.call('ZADD', READY[level], 0, tenant .. ' ' .. later .. ' ' .. batch)
  redis.call('HSET', RECORDS, batch, level .. ' ' .. tenant .. ' ' .. later)
  redis.call('ZREM', READY[level], entry)
  redis.call('ZINCRBY', TENANTS[level], items, tenant)
end

local function next_of(level)
  for _ = 1, 64 do
    local tenant = redis.call('ZRANGE', TENANTS[level], 0, 0)[1]
    if not tenant then return nil end
    local entry = first_entry(level, tenant)
    local time, batch = string.match(entry or '', '^%S+ (%S+) (%S+)$')
    if not entry then
      redis.call('ZREM', TENANTS[level], tenant)
    elseif redis.call('HGET', RECORDS, batch) ~= level .. ' ' .. tenant .. ' ' .. time then
      redis.call('ZREM', READY[level], entry) -- left over from a crash halfway
    else
      charge(level, tenant, entry, batch, time)
      return batch
    end
  end
end

for level = 2, 0, -1 do
  local batch = next_of(level)
  if batch then
    redis.call('SET', KEYS[10], nonce .. ' ' .. batch, 'EX', 60)
    return batch
  end
end
return false
