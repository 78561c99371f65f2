-- Move jobs that were set aside back to their queues.
-- KEYS set (due or park:RESOURCE), held, then per job: queue, run:RUN
-- ARGV per job: name (at most 50; 256 KiB of bodies a call, what is beyond stays for the next)
-- Answers how many were moved; how many had no readable body (left for junk.lua); how many their queue
-- refused (left where they were, to be tried again in a minute, so that they hold up nobody).
-- Remove first, add after: under OOM only that order finishes.
local t = redis.call('TIME')
local later = t[1] * 1000 + 60000
local moved, missing, refused, bytes = 0, 0, 0, 0
for i = 1, math.min(#ARGV, 50) do
  local name, q = ARGV[i], KEYS[i * 2 + 1]
  if bytes < 262144 and redis.call('ZSCORE', KEYS[1], name) then
    local body = redis.call('HGET', KEYS[2], name)
    local ok, queue, j, d, s = pcall(cmsgpack.unpack, body or '')
    if not ok or type(queue) ~= 'string' or type(j) ~= 'string' or type(d) ~= 'string' or type(s) ~= 'string' then
      missing = missing + 1
    else
      redis.call('ZREM', KEYS[1], name)
      local added = redis.pcall('XADD', q, '*', 'j', j, 'd', d, 's', s)
      if added.err then
        redis.call('ZADD', KEYS[1], later, name)
        refused = refused + 1
      else
        redis.call('HDEL', KEYS[2], name)
        redis.pcall('HSET', KEYS[i * 2 + 2], 'st', 'ready', 'pl', 'q:' .. queue, 'en', added) -- a note for people
        bytes = bytes + #j
        moved = moved + 1
      end
    end
  end
end
return {moved, missing, refused}
