-- What lies in inboxes, oldest first. Reads only. About 1 MiB in all, shared out evenly, one entry at a time: whoever
-- may write to an inbox and to nothing else may put what he likes there, and holds up nobody's but his own.
-- KEYS in:NAME ...      ARGV entries of each at most (up to 50), bytes of a job at most
-- Answers for each inbox with entries {key, entries}, as XREAD; of an entry that is too big only the id and no field.
local filled = {}
for _, key in ipairs(KEYS) do
  if redis.call('XLEN', key) > 0 then filled[#filled + 1] = key end
end
local answer, share = {}, 1048576 / #filled
for _, key in ipairs(filled) do
  local entries, from, read = {}, '-', 0
  while #entries < math.min(tonumber(ARGV[1]), 50) and read < share do
    local entry = redis.call('XRANGE', key, from, '+', 'COUNT', 1)[1]
    if not entry then break end
    local bytes = 0
    for _, field in ipairs(entry[2]) do bytes = bytes + #field end
    read = read + bytes -- to look at a big one is what costs
    if bytes > tonumber(ARGV[2]) + 1024 then entry[2] = {} end
    entries[#entries + 1] = entry
    if entry[1] == '18446744073709551615-18446744073709551615' then break end -- nothing comes after the last id of all
    from = '(' .. entry[1]
  end
  answer[#answer + 1] = {key, entries}
end
return answer
