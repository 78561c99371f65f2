-- The long output of a step, into the run record, before the commit that names it by its digest.
-- KEYS queue, run:RUN      ARGV consumer, entry, field, bytes
-- Answers 1, or 0 when the entry is not ours any more. Then the run may be over and its record gone:
-- what is written into a record after its end is never forgotten. Whether the step counts says commit.
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
if p.err or #p == 0 then return 0 end
local kept = redis.pcall('HSET', KEYS[2], ARGV[3], ARGV[4])
return type(kept) == 'table' and kept or 1
