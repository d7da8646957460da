-- include: _batch
-- Remove a batch that could not be created. ARGV: 1 when somebody may have been told of it all the same: then it stays if
-- it was committed. Replies 1 when it is gone.
if ARGV[1] == '1' and redis.call('EXISTS', META) == 1 then return 0 end
redis.call('UNLINK', unpack(KEYS))
return 1
