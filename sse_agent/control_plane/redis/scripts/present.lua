-- Which agents' streams and polls this process holds: ARGV[5] how long that stands (ms), then client ID, transport
-- (empty: none any more), since when, for each that changed.
local key = PREFIX .. 'plane:' .. ORIGIN
for i = 6, #ARGV, 3 do
  local client_id, transport, since = unpack(ARGV, i, i + 2)
  if transport == '' then
    redis.call('HDEL', key, client_id)
    wake('away ' .. client_id)
  else
    redis.call('HSET', key, client_id, transport .. ' ' .. since)
    wake('here ' .. client_id .. ' ' .. transport .. ' ' .. since)
  end
end
redis.call('PEXPIRE', key, ARGV[5])
