-- ARGV[5..7]: kind, key, version; or instead of a version '-': if it has expired.
local kind, key, version = unpack(ARGV, 5, 7)
local place = PREFIX .. 'documents:' .. kind
local found = redis.call('HGET', place, key)
if not found then return {'ok'} end
local of_version, until_at = string.match(found, '^(%d+) (%S+) ')
local has_expired = until_at ~= '-' and until_at <= AT
if version == '-' and not has_expired then return {'ok'} end
if version ~= '-' and has_expired then return {'ok'} end
if version ~= '-' and version ~= of_version then return {'conflict'} end
redis.call('HDEL', place, key)
redis.call('ZREM', place .. ':keys', key)
redis.call('ZREM', PREFIX .. 'expiring', kind .. ' ' .. key)
return {'ok'}
