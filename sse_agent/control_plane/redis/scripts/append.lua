-- ARGV[5..7]: log, body, key (may be empty).
local log, body, key = unpack(ARGV, 5, 7)
local place = PREFIX .. 'log:' .. log
if key ~= '' then
  local known = redis.call('HGET', place .. ':keys', key)
  if known then return tonumber(known) end
end
local n = redis.call('INCR', place .. ':n')
redis.call('XADD', place, n .. '-0', 'at', AT, 'key', key, 'body', body)
if key ~= '' then redis.call('HSET', place .. ':keys', key, n) end
return n
