-- Frees the lock of a product if it still is the caller's.
-- KEYS: 1 product:{p}:lock. ARGV: token. Answers 1, or 0 when it had run out or was taken over.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
