-- ARGV[5..6]: client ID, the first number that is still needed. Bodies before it go; the agent's floor rises with it.
local key = of(ARGV[5])
local agent = fields(key, 'floor_n', 'passed_n')
if not agent.floor_n then return 0 end
-- Never what the agent's cursor has not passed.
local floor_n = math.min(tonumber(ARGV[6]), agent.passed_n + 1)
if floor_n > tonumber(agent.floor_n) then
  redis.call('HSET', key, 'floor_n', floor_n)
  redis.call('XTRIM', of(ARGV[5], 'queue'), 'MINID', floor_n .. '-0')
end
return floor_n
