-- Says that this gateway lives, and gives back what a gateway that does not had reserved.
--
-- KEYS: gateways by when they are taken for dead; the reservations that were swept.
-- ARGV: this gateway; how long it is believed to live, in milliseconds; what the names of
-- reservations begin with; how many are given back at once.
-- Returns how many there were.

local now = clock()
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not dead then return 0 end
local held = ARGV[3] .. dead
local ids, most = redis.call('HKEYS', held), tonumber(ARGV[4])
for place = 1, math.min(#ids, most) do
  for _, entry in ipairs(cmsgpack.unpack(redis.call('HGET', held, ids[place]))) do
    settle(entry, now, 0, true)
  end
  redis.call('HDEL', held, ids[place])
  redis.call('HSET', KEYS[2], ids[place], now)
end
if #ids > 0 then redis.call('PEXPIRE', KEYS[2], LATE) end
if #ids <= most then redis.call('ZREM', KEYS[1], dead) end
return #ids
