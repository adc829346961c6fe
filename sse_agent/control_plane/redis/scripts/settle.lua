-- Write down what was decided about a claim, if what it was decided from still stands (claims.py).
-- ARGV[5..6]: client ID; JSON {expected, set, unset, journal?, unknown?: [after, up to], forgets, wakes}.
local client_id, change = ARGV[5], cjson.decode(ARGV[6])
local key = of(client_id)
for name, value in pairs(change.expected) do
  if redis.call('HGET', key, name) ~= value then return {'changed'} end
end
for name, value in pairs(change.set) do
  redis.call('HSET', key, name, value)
end
for _, name in ipairs(change.unset) do
  redis.call('HDEL', key, name)
end
if change.journal then redis.call('SADD', of(client_id, 'journals'), change.journal) end
if change.forgets then redis.call('DEL', of(client_id, 'progress')) end
if change.wakes then wake('agent ' .. client_id) end
local unknown = {}
if change.unknown then unknown = make_unknown(client_id, change.unknown[1], change.unknown[2]) end
return {'ok', unknown}
