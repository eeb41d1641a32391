-- Reserves all charges, or none.
--
-- KEYS: this gateway's reservations, then one counter per charge.
-- ARGV: the reservation's id; the charges as JSON; whether less will do, so that no request is
-- refused (1).
-- Returns whether it is granted, then of each charge: used, reset, wait (-1 there is room, -2 there
-- never is), mark, alerts, spent.

local now, charges = clock(), cjson.decode(ARGV[2])
local states, granted = {}, 1

local function look(key, charge)
  if charge.kind == 'sliding' then
    local chunks, sum = chunks_of(key, charge.window, now)
    return {used = sum, chunks = chunks}
  elseif charge.kind == 'calendar' then
    local found = redis.call('HMGET', key, 's', 'h')
    return {used = number(found[1]) + number(found[2]), spent = number(found[1])}
  end
  return {used = number(redis.call('GET', key))}
end

local function reset(state, charge)
  if charge.kind == 'calendar' then return math.max(1, charge.ends - now) end
  if charge.kind == 'now' then return state.used > 0 and SOON or 0 end
  local newest = state.chunks[#state.chunks]
  return newest and math.max(0, newest[2] + charge.window - now) or 0
end

local function wait(state, charge)
  local excess = state.used + charge.amount - charge.ceiling
  if excess <= 0 then return -1 end
  if charge.amount > charge.ceiling then return -2 end
  if charge.kind == 'now' then return SOON end
  if charge.kind == 'calendar' then
    local whole = reset(state, charge)
    return state.spent + charge.amount <= charge.ceiling and math.min(SOON, whole) or whole
  end
  for _, chunk in ipairs(state.chunks) do
    excess = excess - chunk[3]
    if excess <= 0 then return math.max(1, chunk[2] + charge.window - now) end
  end
  return charge.window
end

for place, charge in ipairs(charges) do
  states[place] = look(KEYS[place + 1], charge)
  if wait(states[place], charge) ~= -1 then granted = 0 end
end

local told, entries, recorded = {granted}, {}, false
for place, charge in ipairs(charges) do
  local key, state, mark, due, spent = KEYS[place + 1], states[place], 0, 0, 0
  local waiting = wait(state, charge)
  if granted == 1 then
    state.used = state.used + charge.amount
    if charge.kind == 'sliding' then
      mark = take(state.chunks, charge.window, now, charge.amount)
      keep(key, state.chunks, charge.window, now)
    elseif charge.kind == 'calendar' then
      redis.call('HINCRBY', key, 'h', charge.amount)
      redis.call('PEXPIREAT', key, charge.ends + LATE)
    else
      redis.call('INCRBY', key, charge.amount)
    end
    recorded = recorded or charge.resource ~= 'requests'
    charge.key, charge.mark = key, mark
    entries[place] = charge
  elseif waiting ~= -1 and charge.kind == 'calendar' then
    due, spent = alerts(key, charge.limit, ARGV[3] ~= '1')
  end
  for _, value in ipairs({state.used, reset(state, charge), waiting, mark, due, spent}) do
    told[#told + 1] = value
  end
end
if recorded then redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(entries)) end
return told
