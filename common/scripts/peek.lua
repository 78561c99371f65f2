-- What is to be promoted: names in the set up to a score, with their queues, so that promote can
-- declare its keys. Reads only; at most 50 names.
-- KEYS set (due or park:RESOURCE), held      ARGV highest score ("+inf" = all; "now"), limit
-- Answers now ms, score of the first name that was left (or "" ), then name, queue, name, queue ...
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = math.min(tonumber(ARGV[2]), 50)
local top = ARGV[1] == 'now' and now or ARGV[1]
local names = redis.call('ZRANGE', KEYS[1], '-inf', top, 'BYSCORE', 'LIMIT', 0, limit)
local answer = {now, ''}
for _, name in ipairs(names) do
  local body = redis.call('HGET', KEYS[2], name)
  answer[#answer + 1] = name
  answer[#answer + 1] = body and cmsgpack.unpack(body) or ''
end
local left = redis.call('ZRANGE', KEYS[1], #names, #names, 'WITHSCORES')
if left[2] then answer[2] = left[2] end
return answer
