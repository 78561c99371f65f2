-- Entries that nobody will ever take: at or before the group's last id, and pending for nobody (an XACK without
-- XDEL, an XGROUP SETID, a group made at $ by hand). They become pending for a consumer that does not live, and
-- go back like what such a one held (reclaim).
-- KEYS queue      ARGV consumer
-- Answers how many. Only the stream's front is looked at (50 entries, 256 KiB): what is skipped stays there, and
-- what is in work leaves it.
local last
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local has = {}
  for i = 1, #g, 2 do has[g[i]] = g[i + 1] end
  if has.name == 'w' then last = has['last-delivered-id'] end
end
local found, bytes, from = 0, 0, '-'
for _ = 1, last and 50 or 0 do
  local e = redis.call('XRANGE', KEYS[1], from, last, 'COUNT', 1)[1]
  if not e or bytes >= 262144 then break end
  if #redis.call('XPENDING', KEYS[1], 'w', e[1], e[1], 1) == 0 then
    redis.call('XCLAIM', KEYS[1], 'w', ARGV[1], 0, e[1], 'FORCE', 'JUSTID')
    found = found + 1
  end
  for f = 2, #e[2], 2 do bytes = bytes + #e[2][f] end
  if e[1] == '18446744073709551615-18446744073709551615' then break end -- nothing comes after the last id of all
  from = '(' .. e[1]
end
return found
