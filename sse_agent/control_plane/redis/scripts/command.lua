-- ARGV[5]: command ID. Its fields, its agent's, and the bodies of its replies that are still kept.
local command = redis.call('HGETALL', command_key(ARGV[5]))
if #command == 0 then return {} end
local found = fields(command_key(ARGV[5]), 'client_id', 'replies')
local bodies = {}
for serial in string.gmatch(found.replies or '', '%d+') do
  local entry = redis.call('XRANGE', PREFIX .. 'feed', serial .. '-0', serial .. '-0')[1]
  if entry then bodies[#bodies + 1] = entry[2][6] end
end
return {command, redis.call('HMGET', of(found.client_id), 'numbering', 'sent_n'), bodies}
