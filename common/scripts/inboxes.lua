-- What lies in inboxes, oldest first. Reads only, at most about 1 MiB, one entry at a time: whoever may write to an
-- inbox and to nothing else may put what he likes there.
-- KEYS in:NAME ...      ARGV entries of each at most (up to 50), bytes of a job at most
-- Answers for each inbox with entries {key, entries}, as XREAD; of an entry that is too big only the id and no field.
local answer, total = {}, 0
for _, key in ipairs(KEYS) do
  local entries, from = {}, '-'
  while #entries < math.min(tonumber(ARGV[1]), 50) and total < 1048576 do
    local entry = redis.call('XRANGE', key, from, '+', 'COUNT', 1)[1]
    if not entry then break end
    local bytes = 0
    for _, field in ipairs(entry[2]) do bytes = bytes + #field end
    if bytes > tonumber(ARGV[2]) + 1024 then entry[2], bytes = {}, 0 end
    total = total + bytes
    entries[#entries + 1] = entry
    from = '(' .. entry[1]
  end
  if #entries > 0 then answer[#answer + 1] = {key, entries} end
end
return answer
