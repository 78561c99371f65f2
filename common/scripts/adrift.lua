-- Which of these bodies have no place: their names lie neither among the due nor among the dead. Those that are
-- parked are answered too, with where their run says they are; settle.lua looks there. Reads only.
-- KEYS due, dead, then per job: run:RUN      ARGV names (at most 50)
-- Answers name, place as the run record tells it ("" = it does not), name, place ...
local answer, n = {}, 0
for i = 1, math.min(#ARGV, 50) do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) and not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    local place = redis.pcall('HGET', KEYS[i + 2], 'pl')
    answer[n + 1], answer[n + 2] = ARGV[i], type(place) == 'string' and place or ''
    n = n + 2
  end
end
return answer
