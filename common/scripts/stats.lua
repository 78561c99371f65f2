-- How much lies where, for metrics. Reads only.
-- KEYS due, held, dead, then queues
-- Answers now ms, due, parked, dead, first due time ("" = none), then per queue: length, time of the oldest
--      entry ms ("" = empty), entries ever added (-1 = Redis before 7.0 does not say).
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due, dead = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[3])
local answer = {now, due, math.max(0, redis.call('HLEN', KEYS[2]) - due - dead), dead,
  redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or ''}
for i = 4, #KEYS do
  local info = redis.pcall('XINFO', 'STREAM', KEYS[i])
  local length, first, added = 0, '', -1
  if not info.err then
    for f = 1, #info, 2 do
      if info[f] == 'length' then length = info[f + 1] end
      if info[f] == 'entries-added' then added = info[f + 1] end
      if info[f] == 'first-entry' and info[f + 1] then first = info[f + 1][1]:match('^%d+') end
    end
  end
  answer[#answer + 1] = length
  answer[#answer + 1] = first
  answer[#answer + 1] = added
end
return answer
