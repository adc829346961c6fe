-- ARGV[5..]: client ID, numbering, and so on.
for i = 5, #ARGV, 2 do
  local key = of(ARGV[i])
  if redis.call('HSETNX', key, 'numbering', ARGV[i + 1]) == 1 then
    redis.call('HSET', key, 'last_n', 0, 'sent_n', 0, 'passed_n', 0, 'floor_n', 1)
    redis.call('ZADD', PREFIX .. 'agents', 0, ARGV[i])
    wake('agent ' .. ARGV[i])
  end
end
