-- A worker goes, cleanly: its line, its seat and, where nothing is pending, its consumers.
-- KEYS workers, w, boss, then queues      ARGV worker
-- Answers on how many queues entries are still pending in its name (the housekeeper gives them back).
local pending = 0
for i = 4, #KEYS do
  local p = redis.pcall('XPENDING', KEYS[i], 'w', '-', '+', 1, ARGV[1])
  if not p.err then
    if #p == 0 then
      redis.pcall('XGROUP', 'DELCONSUMER', KEYS[i], 'w', ARGV[1])
    else
      pending = pending + 1
    end
  end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return pending
