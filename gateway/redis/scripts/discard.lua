-- include: _batch
-- Remove a batch that could not be created. Replies 1 when it is deleted.
-- ARGV: 1 if a client may know its id: then it stays if it was committed.
if ARGV[1] == '1' and redis.call('EXISTS', META) == 1 then return 0 end
redis.call('UNLINK', unpack(KEYS))
return 1
