-- ARGV[5..10]: kind, key, version, body, when it expires (RFC 3339, or '-'), the same in ms.
-- A document is 'version expiry body'.
local kind, key, version, body, expires_at, expires_ms = unpack(ARGV, 5, 10)
local place = PREFIX .. 'documents:' .. kind
local found = redis.call('HGET', place, key)
local now = '0'
if found then
  local of_version, until_at = string.match(found, '^(%d+) (%S+) ')
  if until_at == '-' or until_at > AT then now = of_version end
end
if now ~= version then return {'conflict'} end
local next = string.format('%d', version + 1)
redis.call('HSET', place, key, next .. ' ' .. expires_at .. ' ' .. body)
redis.call('ZADD', place .. ':keys', 0, key)
local member = kind .. ' ' .. key
if expires_at == '-' then
  redis.call('ZREM', PREFIX .. 'expiring', member)
else
  redis.call('ZADD', PREFIX .. 'expiring', expires_ms, member)
end
-- Other processes hold streams that were opened with the agent's key.
if kind == 'identities' then wake('identity ' .. key) end
return {'ok', next}
