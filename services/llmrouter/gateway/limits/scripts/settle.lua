-- Has a reservation count for what was used.
--
-- KEYS: this gateway's reservations; those that were swept.
-- ARGV: the reservation's id; tokens used; billionths of dollars used; whether this was tried
-- before (1); its charges as JSON, each with its key, for when the record is gone.
-- Returns alerts and what is spent, of each charge.

local now, used = clock(), {tokens = tonumber(ARGV[2]), dollars = tonumber(ARGV[3])}
local packed, told = redis.call('HGET', KEYS[1], ARGV[1]), {}
if packed then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  -- Swept: what was used counts. Tried before, and not swept: that try had arrived.
  local swept = redis.call('HDEL', KEYS[2], ARGV[1]) == 1
  if ARGV[4] == '1' and not swept then return told end
end
for _, entry in ipairs(packed and cmsgpack.unpack(packed) or cjson.decode(ARGV[5])) do
  local due, spent = settle(entry, now, used[entry.resource] or 0, packed ~= false)
  told[#told + 1] = due
  told[#told + 1] = spent
end
return told
