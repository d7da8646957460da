-- include: _batch
-- Remove an ended batch. ARGV: tenant. Replies missing, deleted, or the status that forbids it.
local tenant, status = unpack(redis.call('HMGET', META, 'tenant', 'st'))
if not status or tenant ~= ARGV[1] then return 'missing' end
if status ~= 'ended' then return status end
redis.call('UNLINK', unpack(KEYS))
return 'deleted'
