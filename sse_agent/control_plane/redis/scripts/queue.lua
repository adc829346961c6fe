-- ARGV[5..]: client ID, key, digest, command ID, type, body, limit, then pairs of more fields of the command.
local client_id, key, digest, id, kind, body, limit = unpack(ARGV, 5, 11)
local agent = fields(of(client_id), 'numbering', 'deleted_at', 'last_n', 'passed_n')
local problem = missing(agent)
if problem then return {problem} end
local is = service_key(key, digest)
if is == 'reused' then return {is} end
if is == 'repeated' then
  return {is, agent.numbering, redis.call('HGET', command_key(id), 'n') or '0'}
end
if agent.last_n - agent.passed_n >= tonumber(limit) then return {'full'} end
local n = agent.last_n + 1
redis.call('XADD', of(client_id, 'queue'), n .. '-0', 'id', id, 'type', kind, 'body', body)
redis.call('HSET', of(client_id), 'last_n', n)
redis.call('HSET', PREFIX .. 'service-keys', key, digest)
redis.call('HSET', command_key(id), 'client_id', client_id, 'n', n, 'type', kind, 'queued_at', AT, unpack(ARGV, 12))
redis.call('ZADD', of(client_id, 'open'), n, id)
wake('agent ' .. client_id)
return {'new', agent.numbering, tostring(n)}
