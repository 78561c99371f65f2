-- Put another ciphertext, of the same clear text, in place of each that the caller has opened.
-- KEYS {c:ID}      ARGV gen it was read at, then field, old bytes, new bytes ...
-- Answers OK or MOVED. Every old one must be there still: who re-seals while the token is renewed would undo
-- the renewal, and put back a refresh token that is used up.
if redis.call('HGET', KEYS[1], 'gen') ~= ARGV[1] then return 'MOVED' end
local set = {'HSET', KEYS[1]}
for i = 2, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 'MOVED' end
  set[#set + 1] = ARGV[i]
  set[#set + 1] = ARGV[i + 2]
end
if #set > 2 then redis.call(unpack(set)) end
return 'OK'
