-- One more line of the operators' chain, if nobody was quicker.
-- KEYS P:{sN}:audit:acts
-- ARGV id of the entry that it follows ("" = there is none), max lines, then w n b l m as common/audit.h has them
-- Answers {ADDED, id}, or {MOVED} when the last entry is another one by now.
-- An operator who frees memory of a full Redis must be able to say so: a first write that takes none lets the
-- following one pass under OOM.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (last and last[1] or '') ~= ARGV[1] then return {'MOVED'} end
redis.call('PERSIST', KEYS[1])
return {'ADDED', redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'w', ARGV[3], 'n', ARGV[4], 'b', ARGV[5],
  'l', ARGV[6], 'm', ARGV[7])}
