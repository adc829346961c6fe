-- ARGV[5..7]: log, instant, at most. Forgets its oldest entries from before that instant; says how many.
local place, before, most = PREFIX .. 'log:' .. ARGV[5], ARGV[6], tonumber(ARGV[7])
local count = 0
for _, entry in ipairs(redis.call('XRANGE', place, '-', '+', 'COUNT', most)) do
  local values = entry[2]
  if values[2] >= before then break end
  if values[4] ~= '' then redis.call('HDEL', place .. ':keys', values[4]) end
  redis.call('XDEL', place, entry[1])
  count = count + 1
end
return count
