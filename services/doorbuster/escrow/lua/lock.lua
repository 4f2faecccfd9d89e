-- Takes the lock of a product: SET NX EX, or the lock of somebody who must have given up or died by now.
-- KEYS: 1 product:{p}:lock. ARGV: token, seconds the lock lives, milliseconds after which its holder is overdue.
-- Answers T taken, O taken over, K kept by another.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then
  return 'T'
end
if tonumber(ARGV[2]) * 1000 - redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  return 'K'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'O'
