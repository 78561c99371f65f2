-- Something that workers know from Redis has changed: count up the revision that they compare what they know with.
-- KEYS meta
-- Answers the revision. HDEL first: an emergency stop must reach the workers also when Redis is full (OOM).
redis.call('HDEL', KEYS[1], 'none')
return redis.call('HINCRBY', KEYS[1], 'rev', 1)
