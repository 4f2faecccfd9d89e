-- Shared by every script of this folder; it is put in front of each of them.
-- KEYS: 1 {p}:st hash   a permits, e epoch, s sequence, u unsettled units, the gate
--       2 {p}:h  zset   order -> when somebody must look at it (permit deadline, or end of its memory)
--       3 {p}:r  hash   order -> epoch:sequence:quantity:state:returned:user
--       4 {p}:l  hash   user -> units taken in this epoch (a hint for the limit per user)
-- state: N none, I in flight, S settled. returned (the X of the protocol) is a bit of its own: one flag for both
-- would let a returned unit hide a permit that is still in flight.

local function now_millis()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function read_entry(text)
  if not text then
    return nil
  end
  local epoch, sequence, quantity, state, returned, user =
    string.match(text, '^(%d+):(%d+):(%d+):(%u):(%d):(.*)$')
  if not epoch then
    return nil
  end
  return {
    epoch = tonumber(epoch),
    sequence = sequence,
    quantity = tonumber(quantity),
    state = state,
    returned = returned,
    user = user,
  }
end

local function write_entry(order, entry)
  local text = table.concat(
    { entry.epoch, entry.sequence, entry.quantity, entry.state, entry.returned, entry.user }, ':')
  redis.call('HSET', KEYS[3], order, text)
end

local function uncount_user(entry)
  if entry.user ~= '' and redis.call('HINCRBY', KEYS[4], entry.user, -entry.quantity) <= 0 then
    redis.call('HDEL', KEYS[4], entry.user)
  end
end
