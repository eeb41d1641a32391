-- Counts as counters.py does; all times are milliseconds of this server's clock. Every script
-- begins with this text.
--
-- A window that slides is a string: a list of chunks {first time, last time, amount}. A quota is a
-- hash: s spent, h reserved, n requests that cost something, a alerts raised (bits). Streams are a
-- number.

local CHUNKS = 32
local SOON = 1000
local LATE = 3600000  -- how long a quota is kept after its period, for what is settled late

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number(value)
  return tonumber(value or 0)
end

local function chunks_of(key, window, now)
  local packed, kept, sum = redis.call('GET', key), {}, 0
  for _, chunk in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    if chunk[2] + window > now then
      kept[#kept + 1] = chunk
      sum = sum + chunk[3]
    end
  end
  return kept, sum
end

local function keep(key, chunks, window, now)
  if #chunks == 0 then
    redis.call('DEL', key)
  else
    local left = math.max(1, chunks[#chunks][2] + window - now)
    redis.call('SET', key, cmsgpack.pack(chunks), 'PX', left)
  end
end

local function take(chunks, window, now, amount)
  local newest = chunks[#chunks]
  if newest and now - newest[1] < math.max(1, math.floor(window / CHUNKS)) then
    newest[2] = math.max(newest[2], now)
    newest[3] = newest[3] + amount
    return newest[1]
  end
  chunks[#chunks + 1] = {now, now, amount}
  return now
end

-- Returns the alerts of a quota that are due and were not raised, as bits, and what is spent.
local function alerts(key, limit, refused)
  local found = redis.call('HMGET', key, 's', 'n', 'a')
  local spent, requests, raised = number(found[1]), number(found[2]), number(found[3])
  local warned, left, due = spent * 100 >= limit * 80, limit - spent, 0
  if warned then due = due + 1 end
  if left <= 0 or (refused and warned) then due = due + 2 end
  if requests > 0 and left * requests < 10 * spent then due = due + 4 end
  local fresh = bit.band(due, bit.bnot(raised))
  if fresh ~= 0 then redis.call('HSET', key, 'a', bit.bor(raised, due)) end
  return fresh, spent
end

local function settle_chunk(entry, now, actual, held)
  local chunks = chunks_of(entry.key, entry.window, now)
  local change = held and actual - entry.amount or actual
  local found = false
  for place, chunk in ipairs(held and chunks or {}) do
    if chunk[1] == entry.mark then
      found = true
      chunk[3] = chunk[3] + change
      if chunk[3] <= 0 then table.remove(chunks, place) end
      break
    end
  end
  if not found and change > 0 then take(chunks, entry.window, now, change) end
  keep(entry.key, chunks, entry.window, now)
end

-- Has an entry of a reservation count for what was used; without `held` the reservation is gone,
-- and what was used counts alone. Returns alerts and what is spent.
local function settle(entry, now, actual, held)
  if entry.resource == 'requests' then return 0, 0 end
  if entry.kind == 'now' then
    if held and redis.call('DECRBY', entry.key, entry.amount) <= 0 then
      redis.call('DEL', entry.key)
    end
    return 0, 0
  end
  if entry.kind == 'sliding' then
    settle_chunk(entry, now, actual, held)
    return 0, 0
  end
  if held then redis.call('HINCRBY', entry.key, 'h', 0 - entry.amount) end
  if actual > 0 then
    redis.call('HINCRBY', entry.key, 's', actual)
    redis.call('HINCRBY', entry.key, 'n', 1)
  end
  redis.call('PEXPIREAT', entry.key, entry.ends + LATE)
  return alerts(entry.key, entry.limit, false)
end
