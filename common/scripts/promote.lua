-- Move jobs that were set aside back to their queues.
-- KEYS set (due or park:RESOURCE), held, then per job: queue, run:RUN
-- ARGV per job: name
-- Answers how many were moved. Remove first, add after; a body that is missing is dropped from the
-- set and counted in the second number.
local moved, missing, bytes = 0, 0, 0
for i = 1, #ARGV do
  local name = ARGV[i]
  if bytes < 262144 and redis.call('ZSCORE', KEYS[1], name) then
    local body = redis.call('HGET', KEYS[2], name)
    if not body then
      redis.call('ZREM', KEYS[1], name)
      missing = missing + 1
    else
      local queue, j, d, s, replayed = cmsgpack.unpack(body)
      redis.call('XLEN', KEYS[i * 2 + 1]) -- a wrong type says so before the first write
      redis.call('ZREM', KEYS[1], name)
      redis.call('HDEL', KEYS[2], name)
      redis.call('XADD', KEYS[i * 2 + 1], '*', 'j', j, 'd', d, 's', s)
      redis.call('HSET', KEYS[i * 2 + 2], 'st', 'ready', 'pl', 'q:' .. queue)
      bytes = bytes + #j
      moved = moved + 1
    end
  end
end
return {moved, missing}
