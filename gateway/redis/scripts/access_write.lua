-- Store one record of access (a key, or the limits of a scope) and the audit entry of the change, in one step. Or, in
-- place of the record, remove fields of a hash.
-- KEYS: records, versions, changes, epoch, digests, audit stream, audit head, the outcome of a change that is made
-- once, if it is such a one, and the hash, if fields are removed.
-- ARGV: head that the entry continues, new head, entry, name of the record, record ('' for none), version that it must
-- have ('' for any), outcome ('' for none), milliseconds to keep it, then digests that name the record, or the fields.
-- Replies {'stored', version} | {'head', head as it is} | {'conflict', version as it is} | {'repeated', first outcome}.
local RECORDS, VERSIONS, CHANGES, EPOCH, DIGESTS, AUDIT, HEAD = unpack(KEYS)
local OUTCOME = ARGV[7] ~= '' and KEYS[8]
local known = OUTCOME and redis.call('GET', OUTCOME)
if known then return {'repeated', known} end
local head = redis.call('GET', HEAD) or ''
local name, record, version = ARGV[4], ARGV[5], redis.call('HGET', VERSIONS, ARGV[4]) or '0'
-- The entry exists: this is a repetition after a lost reply.
if head == ARGV[2] then return {'stored', version} end
if head ~= ARGV[1] then return {'head', head} end
if ARGV[6] ~= '' and ARGV[6] ~= version then return {'conflict', version} end
if record ~= '' then
  redis.call('HSET', RECORDS, name, record)
  version = redis.call('HINCRBY', VERSIONS, name, 1)
  redis.call('ZADD', CHANGES, redis.call('INCR', EPOCH), name)
  for i = 9, #ARGV do redis.call('HSET', DIGESTS, ARGV[i], name) end
else
  for i = 9, #ARGV do redis.call('HDEL', KEYS[#KEYS], ARGV[i]) end
end
if OUTCOME then redis.call('SET', OUTCOME, ARGV[7], 'PX', ARGV[8]) end
redis.call('SET', HEAD, ARGV[2])
redis.call('XADD', AUDIT, '*', 'e', ARGV[3])
return {'stored', tostring(version)}
