-- The API refused an access token that had not expired by its own account: nobody is to send that version
-- again. Its expiry is put to now; a renewal that has stored a newer one meanwhile is left alone.
-- KEYS {c:ID}      ARGV gen and ver of the token, changed channel, connection id
-- Answers 1, or 0 when the record has moved on or the version has expired already.
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'exp')
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if (tonumber(h[3]) or 0) <= now then return 0 end
redis.call('HSET', KEYS[1], 'exp', now)
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
