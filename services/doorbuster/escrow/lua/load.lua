-- Starts a new epoch with so many permits behind this gate; everything of older epochs is forgotten.
-- ARGV: epoch, permits, sale, opening ms, closing ms, state, units per user.
-- Answers 1, or 0 when the epoch (or a newer one) is there already.

local current = redis.call('HGET', KEYS[1], 'e')
if current and tonumber(current) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1],
  'e', ARGV[1], 'a', ARGV[2], 's', 0, 'u', 0,
  'sale', ARGV[3], 'open_ms', ARGV[4], 'close_ms', ARGV[5], 'state', ARGV[6], 'limit', ARGV[7])
redis.call('PEXPIREAT', KEYS[1], tonumber(ARGV[5]) + 86400000)
return 1
