-- ARGV[5..7]: client ID, key, digest.
local problem = missing(fields(of(ARGV[5]), 'numbering', 'deleted_at'))
if problem then return {problem} end
local is = service_key(ARGV[6], ARGV[7])
if is == 'new' then
  redis.call('HSET', PREFIX .. 'service-keys', ARGV[6], ARGV[7])
  redis.call('HSET', of(ARGV[5]), 'is_readmitted', 1)
end
return {is}
