-- ARGV[5..]: client ID, journal, epoch, instance, a minute ago, how long volatile keys are kept (ms), most progress of
-- one agent, how long progress is kept (ms), most replies of one command; then for each report its news (JSON) and body.
local client_id, journal, epoch, instance = unpack(ARGV, 5, 8)
local minute_ago, keys_ms, most_progress, progress_ms, most_replies = unpack(ARGV, 9, 13)
local key = of(client_id)
local agent = fields(
  key, 'numbering', 'deleted_at', 'journal', 'epoch', 'instance', 'reset_reason', 'last_n', 'passed_n', 'generation',
  'standing', 'last_seen_at'
)
local problem = missing(agent)
if problem then return {problem} end
if not is_bound(agent, journal, epoch, instance) then return {'unbound'} end
local generation = agent.generation or '0'
local changed, is_changed = {}, {}

local function note_changed(id)
  if id and not is_changed[id] then
    is_changed[id] = true
    changed[#changed + 1] = id
  end
end

-- The agent's own command of that ID, or of that event ID where the agent could not read it.
local function find(named)
  local id = named.id
  if redis.call('HGET', command_key(id), 'client_id') == client_id then return id end
  if named.numbering ~= agent.numbering then return nil end
  local entry = redis.call('XRANGE', of(client_id, 'queue'), named.n .. '-0', named.n .. '-0')[1]
  return entry and entry[2][2]
end

local function pass(n)
  if n > tonumber(agent.passed_n) then
    agent.passed_n = n
    redis.call('HSET', key, 'passed_n', n)
  end
end

local function acknowledge(ack)
  local id = find(ack)
  if not id then return nil end
  local command = fields(command_key(id), 'n', 'outcome')
  -- The journal takes commands in order: whoever has this one has those before it.
  pass(tonumber(command.n))
  if ack.status == 'accepted' then
    redis.call('HSETNX', command_key(id), 'accepted_at', AT)
  elseif not command.outcome or command.outcome == 'unknown' then
    redis.call('HDEL', command_key(id), 'error')
    redis.call('HSET', command_key(id), 'outcome', ack.status, 'finished_at', AT)
    if ack.error then redis.call('HSET', command_key(id), 'error', ack.error) end
    redis.call('ZREM', of(client_id, 'open'), id)
  end
  return id
end

-- What is paused or cancelled is reported without its size.
local function note_size(news)
  if news.size then redis.call('HSET', of(client_id, 'sizes'), news.file, news.size) end
end

-- The higher revision wins; what another journal said counts as revision 0.
local function note_upload(news)
  local uploads = of(client_id, 'uploads')
  local before = redis.call('HGET', uploads, news.file)
  if before then
    local of_generation, revision, state = string.match(before, '^(%d+) (%-?%d+) (%S+) ')
    -- Complete is final, also what a later life of a restored machine completed; not what a lost journal said.
    if state == 'complete' and (of_generation == generation or agent.standing == generation) then return end
    if not is_above(news.revision, of_generation == generation and revision or '0') then return end
  end
  local line = generation .. ' ' .. news.revision .. ' ' .. news.state .. ' ' .. AT .. ' ' .. news.details
  redis.call('HSET', uploads, news.file, line)
  redis.call('ZADD', of(client_id, 'files'), 0, news.file)
  note_size(news)
end

local function note_progress(news)
  local progress = of(client_id, 'progress')
  local before = redis.call('HGET', progress, news.file)
  if before then
    local revision, n = string.match(before, '^(%-?%d+) (%-?%d+) ')
    if is_above(revision, news.revision) then return end
    if revision == news.revision and not is_above(news.n, n) then return end
  elseif redis.call('HLEN', progress) >= tonumber(most_progress) then
    redis.call('HDEL', progress, redis.call('HRANDFIELD', progress))
  end
  local line = news.revision .. ' ' .. news.n .. ' ' .. news.state .. ' ' .. AT .. ' ' .. news.details
  redis.call('HSET', progress, news.file, line)
  redis.call('PEXPIRE', progress, progress_ms)
  redis.call('ZADD', of(client_id, 'files'), 0, news.file)
  note_size(news)
end

-- A durable event says more.
local function overtake(news)
  local before = redis.call('HGET', of(client_id, 'progress'), news.file)
  if before and is_above(news.revision, string.match(before, '^%-?%d+')) then
    redis.call('HDEL', of(client_id, 'progress'), news.file)
  end
end

local function reply(id, serial)
  local replies = redis.call('HGET', command_key(id), 'replies') or ''
  if select(2, string.gsub(replies, ' ', ' ')) < tonumber(most_replies) then
    redis.call('HSET', command_key(id), 'replies', replies .. serial .. ' ')
  end
end

local function apply(news, body)
  local answered = news.reply and find(news.reply)
  local serial = redis.call('INCR', PREFIX .. 'feed:n')
  local place = serial .. '-0'
  redis.call('XADD', PREFIX .. 'feed', place, 'client', client_id, 'at', AT, 'body', body)
  redis.call('XADD', of(client_id, 'events'), place, 'type', news.type)
  redis.call('HSET', key, 'reported_at', news.timestamp, 'recorded_at', AT)
  note_changed(answered)
  if answered and news.type ~= 'ACK' then reply(answered, serial) end
  if news.ack then note_changed(acknowledge(news.ack)) end
  if news.upload then
    note_upload(news.upload)
    overtake(news.upload)
  end
  for _, upload in ipairs(news.uploads or {}) do
    note_upload(upload)
  end
  if news.type == 'CLIENT_CONNECTED' then
    redis.call('HSET', key, 'connection', body)
    -- Of a reset that is not taken yet the cursor says nothing: it may be the old one of a restored machine.
    if news.cursor and news.cursor.numbering == agent.numbering and not agent.reset_reason then
      pass(math.min(tonumber(news.cursor.n), tonumber(agent.last_n)))
    end
  end
end

local function verdict_of(known, news)
  if not known then return 'recorded' end
  return known == news.digest and 'repeated' or 'conflict'
end

local verdicts = {}
for i = 14, #ARGV, 2 do
  local news, body = cjson.decode(ARGV[i]), ARGV[i + 1]
  local verdict
  if news.volatile then
    local place = PREFIX .. 'volatile:' .. client_id .. ':' .. news.id
    verdict = verdict_of(redis.call('GET', place), news)
    if verdict == 'recorded' then
      redis.call('SET', place, news.digest, 'PX', keys_ms)
      if news.upload then note_progress(news.upload) end
    end
  else
    verdict = verdict_of(redis.call('HGET', of(client_id, 'keys'), news.id), news)
    if verdict == 'recorded' then
      redis.call('HSET', of(client_id, 'keys'), news.id, news.digest)
      apply(news, body)
    end
  end
  if verdict == 'recorded' then
    if news.type == 'CLIENT_STATUS' then redis.call('HSET', key, 'status', body) end
    if news.volatile then
      -- Not counted: losing one is no loss.
      redis.call('PUBLISH', CHANNEL, '- ' .. ORIGIN .. ' report ' .. client_id .. ' ' .. body)
    else
      wake('report ' .. client_id .. ' ' .. body)
    end
  end
  verdicts[#verdicts + 1] = verdict
end
if not agent.last_seen_at or agent.last_seen_at <= minute_ago then redis.call('HSET', key, 'last_seen_at', AT) end
for _, id in ipairs(changed) do
  wake('command ' .. id)
end
return {'ok', verdicts, changed}
