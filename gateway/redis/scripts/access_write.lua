-- Store one record of access (a key, or the limits of a scope) and the audit entry of the change, in one step.
-- KEYS: records, versions, changes, epoch, digests, audit stream, audit head.
-- ARGV: head that the entry continues, new head, entry, name of the record, record ('' for none), version that it must
-- have ('' for any), then digests that name it.
-- Replies {'stored', version} | {'head', head as it is} | {'conflict', version as it is}.
local RECORDS, VERSIONS, CHANGES, EPOCH, DIGESTS, AUDIT, HEAD = unpack(KEYS)
local head = redis.call('GET', HEAD) or ''
if head ~= ARGV[1] then return {'head', head} end
local name, record, version = ARGV[4], ARGV[5], redis.call('HGET', VERSIONS, ARGV[4]) or '0'
if ARGV[6] ~= '' and ARGV[6] ~= version then return {'conflict', version} end
if record ~= '' then
  redis.call('HSET', RECORDS, name, record)
  version = redis.call('HINCRBY', VERSIONS, name, 1)
  redis.call('ZADD', CHANGES, redis.call('INCR', EPOCH), name)
  for i = 7, #ARGV do redis.call('HSET', DIGESTS, ARGV[i], name) end
end
redis.call('SET', HEAD, ARGV[2])
redis.call('XADD', AUDIT, '*', 'e', ARGV[3])
return {'stored', tostring(version)}
