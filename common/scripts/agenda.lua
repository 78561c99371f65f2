-- What the housekeeper has to do now, in one look. Reads only, at most about 256 KiB of bodies.
-- KEYS due, lots, workers, held, queues      ARGV limit (at most 50)
-- Answers now ms, the next due time after these ("" = none), the next lot's time ("" = none),
--      names and queues of due jobs (name, queue, ...; queue "" = it has no body, "?" = one that cannot be
--      read), due lots (resource, score, ...), workers whose time
--      has passed (at most 5), all queues that workers work on.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = math.min(tonumber(ARGV[1]), 50)
local function range(key, from, to, ...) return redis.call('ZRANGE', key, from, to, ...) end
local names = range(KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
local due, looked, bytes = {}, 0, 0
for _, name in ipairs(names) do
  if bytes >= 262144 then break end
  local body = redis.call('HGET', KEYS[4], name)
  local ok, queue, j, d, s = pcall(cmsgpack.unpack, body or '')
  ok = ok and type(queue) == 'string' and type(j) == 'string' and type(d) == 'string' and type(s) == 'string'
  due[#due + 1] = name
  due[#due + 1] = ok and queue or body and '?' or ''
  looked = looked + 1
  bytes = bytes + (body and #body or 0)
end
local lots = range(KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 20, 'WITHSCORES')
local next_due = range(KEYS[1], looked, looked, 'WITHSCORES')[2]
local next_lot = range(KEYS[2], #lots / 2, #lots / 2, 'WITHSCORES')[2]
local gone = range(KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 5)
return {now, next_due or '', next_lot or '', due, lots, gone, redis.call('SMEMBERS', KEYS[5])}
