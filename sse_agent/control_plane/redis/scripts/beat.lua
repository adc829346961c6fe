-- This process is alive. ARGV[5..6]: how long that stands (ms), since when one that says nothing is gone (RFC 3339).
-- Answers whether what it said about the agents it holds still stands.
local planes = redis.call('HGETALL', PREFIX .. 'planes')
for i = 1, #planes, 2 do
  if planes[i + 1] < ARGV[6] then redis.call('HDEL', PREFIX .. 'planes', planes[i]) end
end
redis.call('HSET', PREFIX .. 'planes', ORIGIN, AT)
redis.call('PUBLISH', CHANNEL, '- ' .. ORIGIN .. ' beat')
return redis.call('PEXPIRE', PREFIX .. 'plane:' .. ORIGIN, ARGV[5])
