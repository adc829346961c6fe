-- ARGV[5]: client ID. What is left of it is its ID and its commands' outcomes.
local client_id = ARGV[5]
local problem = missing(fields(of(client_id), 'numbering', 'deleted_at'))
if problem == 'agent-deleted' then return {'ok', {}} end
if problem then return {problem} end
redis.call('HSET', of(client_id), 'deleted_at', AT)
redis.call('HDEL', of(client_id), 'stream', 'connection', 'status')
redis.call('ZREM', PREFIX .. 'agents', client_id)
local unknown = make_unknown(client_id, 0, '+inf')
for _, part in ipairs({'queue', 'open', 'events', 'uploads', 'files', 'sizes', 'progress', 'keys', 'journals', 'here'}) do
  redis.call('UNLINK', of(client_id, part))
end
wake('agent ' .. client_id)
return {'ok', unknown}
