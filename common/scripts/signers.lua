-- With which keys are the jobs here signed? One page; reads only.
-- KEYS a queue, or held      ARGV cursor ("0" = from the beginning), jobs a page (at most 50)
-- Answers the next cursor ("0" = that was all), then key id (4 bytes), how many, key id, how many ...
local count, seen, answer = math.min(tonumber(ARGV[2]), 50), {}, {}
local function note(s)
  if type(s) == 'string' and #s == 36 then seen[s:sub(1, 4)] = (seen[s:sub(1, 4)] or 0) + 1 end
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'stream' then
  local page = redis.call('XRANGE', KEYS[1], ARGV[1] == '0' and '-' or ARGV[1], '+', 'COUNT', count)
  for _, entry in ipairs(page) do
    for f = 1, #entry[2], 2 do
      if entry[2][f] == 's' then note(entry[2][f + 1]) end
    end
  end
  answer[1] = #page < count and '0' or '(' .. page[#page][1]
elseif kind == 'hash' then
  local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', count)
  for f = 2, #page[2], 2 do
    local ok, _, _, _, s = pcall(cmsgpack.unpack, page[2][f])
    if ok then note(s) end
  end
  answer[1] = page[1]
else
  answer[1] = '0'
end
for id, n in pairs(seen) do
  answer[#answer + 1] = id
  answer[#answer + 1] = n
end
return answer
