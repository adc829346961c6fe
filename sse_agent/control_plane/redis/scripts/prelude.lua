-- In front of every script. ARGV[1..4]: prefix of all keys, channel, who asks, now (RFC 3339, UTC, milliseconds).
-- A script runs alone and whole: what it reads stands until it has written. Decimal numbers stay text where they may
-- be large: Lua's own lose digits beyond 2^53.
local PREFIX, CHANNEL, ORIGIN, AT = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function of(client_id, part)
  return PREFIX .. 'agent:' .. client_id .. (part and (':' .. part) or '')
end

local function command_key(id)
  return PREFIX .. 'command:' .. id
end

-- The named fields of a hash; false where there is none.
local function fields(key, ...)
  local values, found = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({...}) do
    found[name] = values[i]
  end
  return found
end

-- Counted, so that whoever listens notices that it missed one.
local function wake(what)
  local n = redis.call('INCR', PREFIX .. 'wakes')
  redis.call('PUBLISH', CHANNEL, n .. ' ' .. ORIGIN .. ' ' .. what)
end

local function is_bound(agent, journal, epoch, instance)
  return agent.journal == journal and agent.epoch == epoch and agent.instance == instance
end

-- Why this agent can't be spoken of, or nil.
local function missing(agent)
  if not agent.numbering then return 'unknown-agent' end
  if agent.deleted_at then return 'agent-deleted' end
end

-- Nobody can tell any more what became of these open commands. A late final ACK still may.
local function make_unknown(client_id, after_n, up_to_n)
  local open = of(client_id, 'open')
  local ids = redis.call('ZRANGEBYSCORE', open, '(' .. after_n, up_to_n)
  for _, id in ipairs(ids) do
    redis.call('HSET', command_key(id), 'outcome', 'unknown', 'finished_at', AT)
    wake('command ' .. id)
  end
  redis.call('ZREMRANGEBYSCORE', open, '(' .. after_n, up_to_n)
  return ids
end

-- Whether decimal number a is larger than b.
local function is_above(a, b)
  if string.find(a .. b, '-', 1, true) then return tonumber(a) > tonumber(b) end
  if #a ~= #b then return #a > #b end
  return a > b
end

-- 'new', 'repeated' or 'reused'.
local function service_key(key, digest)
  local known = redis.call('HGET', PREFIX .. 'service-keys', key)
  if known then return known == digest and 'repeated' or 'reused' end
  return 'new'
end
