-- What is to be promoted: names in the set up to a score, with their queues, so that promote can
-- declare its keys. Reads only; at most 50 names and about 256 KiB of bodies.
-- KEYS set (due or park:RESOURCE), held      ARGV highest score ("+inf" = all; "now"), limit
-- Answers now ms, score of the first name that was left (or "" ), then name, queue, name, queue ...
--      (queue "" = it has no body, "?" = one that cannot be read)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = math.min(tonumber(ARGV[2]), 50)
local top = ARGV[1] == 'now' and now or ARGV[1]
local names = redis.call('ZRANGE', KEYS[1], '-inf', top, 'BYSCORE', 'LIMIT', 0, limit)
local answer = {now, ''}
local looked, bytes = 0, 0
for _, name in ipairs(names) do
  if bytes >= 262144 then break end
  local body = redis.call('HGET', KEYS[2], name)
  local ok, queue, j, d, s = pcall(cmsgpack.unpack, body or '')
  ok = ok and type(queue) == 'string' and type(j) == 'string' and type(d) == 'string' and type(s) == 'string'
  answer[#answer + 1] = name
  answer[#answer + 1] = ok and queue or body and '?' or ''
  looked = looked + 1
  bytes = bytes + (body and #body or 0)
end
local left = redis.call('ZRANGE', KEYS[1], looked, looked, 'WITHSCORES')
if left[2] then answer[2] = left[2] end
return answer
