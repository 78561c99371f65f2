-- Give back a concurrent slot.
-- KEYS {c:ID}:lane      ARGV member
return redis.call('ZREM', KEYS[1], ARGV[1])
