-- May a call of this connection begin, by its slots, its rate and its breaker? A yes takes what it needs.
-- KEYS {c:ID}:lane, {c:ID}
-- ARGV slots (0 = any number), member (worker/entry; "" = only look), ms until a slot frees itself, or
--      another probe may be made,
--      ms between two calls (0 = no rate), calls that may begin at once
-- Answers 1 (it may), 2 (it may, and is the probe: its outcome is waited for), or 0 and the ms until it is to ask again; of a look, how many may begin now (at most
-- 1000) and the ms until more may (0: when one ends).
-- The lane holds worker/entry -> the time when that slot frees itself, and "rate" -> the time up to which
-- calls are accounted for, at one interval each (the theoretical arrival time of GCRA: ATM Forum Traffic
-- Management 4.0 section 4.4.2). Both are of no use once their time has passed.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local slots, every, burst = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5])
local member, look = ARGV[2], ARGV[2] == ''
if not look and redis.call('ZSCORE', KEYS[1], member) then -- the same one again
  return {redis.call('HGET', KEYS[2], 'bp') == member and 2 or 1, 0}
end
local mark = redis.call('ZSCORE', KEYS[1], 'rate')
local spent = tonumber(mark or now)
if spent > now + burst * every then
  -- further ahead than these limits can put it: they were others, or the clock was
  spent = now + burst * every
  redis.call('ZADD', KEYS[1], 'XX', spent, 'rate')
end
local room, wait = 1000, 0
if slots > 0 then
  room = math.min(room, math.max(0, slots - redis.call('ZCARD', KEYS[1]) + (mark and 1 or 0)))
  if room == 0 then wait = 1000 end -- they are given back long before they free themselves
end
if every > 0 then
  local free = math.floor((now - spent) / every) + burst
  if free < room or (look and free == room) then
    room = math.max(0, free)
    wait = math.max(wait, spent + (room + 1 - burst) * every - now)
  end
end
local h = redis.call('HMGET', KEYS[2], 'bo', 'cool', 'bp', 'bu')
if h[1] then -- the breaker holds the connection; once its time is over one call at a time finds out
  local free = 1
  if tonumber(h[2] or 0) > now then
    free, wait = 0, math.max(wait, h[2] - now)
  elseif h[3] and h[3] ~= member and tonumber(h[4]) > now then
    free, wait = 0, math.max(wait, math.min(1000, h[4] - now)) -- its outcome is there long before
  end
  room = math.min(room, free)
end
wait = math.ceil(wait)
if look then return {room, wait} end
if room == 0 then return {0, math.max(1, wait)} end
if slots > 0 then redis.call('ZADD', KEYS[1], now + ARGV[3], member) end
if every > 0 then redis.call('ZADD', KEYS[1], spent + every, 'rate') end
-- the lane lives as long as its last member, which need not be this one
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('PEXPIREAT', KEYS[1], math.ceil(last)) end
if not h[1] then return {1, 0} end
redis.call('HSET', KEYS[2], 'bp', member, 'bu', math.floor(now + ARGV[3]))
return {2, 0}
