-- Give bodies that lie nowhere a place again: a dead letter's among the dead, any other among the due,
-- now. Who is called a second time by that is found out by SEQ, as after any delivery.
-- KEYS held, due, dead, then per job: run:RUN, the lot that its run told of (due when it told of none)
-- ARGV names (at most 50), then as many places, as adrift.lua answered them
-- Answers the names that were given a place.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local count = math.min(#ARGV / 2, 50)
local answer = {}
redis.call('ZCARD', KEYS[2]) -- a wrong type says so before the first write
redis.call('ZCARD', KEYS[3])
for i = 1, count do
  local name, run, lot = ARGV[i], KEYS[i * 2 + 2], KEYS[i * 2 + 3]
  local place = redis.pcall('HGET', run, 'pl')
  local parked = redis.pcall('ZSCORE', lot, name) -- another type: nobody lies there
  if (type(place) == 'string' and place or '') == ARGV[#ARGV / 2 + i] and type(parked) ~= 'string'
      and redis.call('HEXISTS', KEYS[1], name) == 1
      and not redis.call('ZSCORE', KEYS[2], name) and not redis.call('ZSCORE', KEYS[3], name) then
    local letter = {pcall(cmsgpack.unpack, redis.call('HGET', KEYS[1], name))}
    local ms = letter[1] and letter[8]
    -- who may write to held may have written anything: a name that is no job's goes where junk.lua gives it one
    if type(ms) == 'number' and ms >= 0 and ms < 1e15 and name:find('^[%w_:-]+%.[%w_-]+%.%d+$') then
      redis.call('ZADD', KEYS[3], ms, name)
    else
      redis.call('ZADD', KEYS[2], now, name)
    end
    answer[#answer + 1] = name
  end
end
return answer
