-- ARGV[5..]: client ID, journal, epoch, instance, ticket (may be empty), after_n, most commands, most bytes.
local client_id, journal, epoch, instance, ticket = unpack(ARGV, 5, 9)
local after_n, most, most_bytes = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local agent = fields(
  of(client_id), 'numbering', 'deleted_at', 'journal', 'epoch', 'instance', 'stream', 'last_n', 'sent_n', 'floor_n'
)
if missing(agent) or not is_bound(agent, journal, epoch, instance) then return {'superseded'} end
if ticket ~= '' and agent.stream ~= ticket then return {'superseded'} end
local page, size, n = {'ok', agent.numbering}, 0, after_n
local last_n, from_n = tonumber(agent.last_n), math.max(after_n + 1, tonumber(agent.floor_n))
-- A few at a time: a hundred of the largest would be far more than a page.
while from_n <= last_n and #page - 2 < most do
  local count = math.min(16, most - (#page - 2))
  local found = redis.call('XRANGE', of(client_id, 'queue'), from_n .. '-0', '+', 'COUNT', count)
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    local values = entry[2]
    size = size + #values[6]
    if #page > 2 and size > most_bytes then
      from_n = last_n + 1
      break
    end
    n = tonumber(string.match(entry[1], '^%d+'))
    page[#page + 1] = {tostring(n), values[4], values[6]}
    from_n = n + 1
  end
end
if n > tonumber(agent.sent_n) and #page > 2 then redis.call('HSET', of(client_id), 'sent_n', n) end
return page
