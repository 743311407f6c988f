-- The load on the stack that people build, for wrk: a closed loop of payments drawn as catraca-loadgen draws them, each verdict checked.
--
-- In the environment: STACK_PORTS (one for each thread), STACK_LIST (CSV, its first column documents), STACK_PEOPLE (how many pay each
-- other), STACK_FIRST (the number of the first of them), STACK_LISTED_SHARE, STACK_WARMUP (seconds), STACK_OUT (JSON).

local measure = dofile("scripts/bench-peers/measure.lua")

-- As catraca-loadgen: at most so many listed documents, drawn evenly from the list.
local MOST_LISTED = 262144
local MOST_CENTAVOS = 500000

-- In the first environment: one for all threads.
local threads = {}

function setup(thread)
  local ports = {}
  for port in os.getenv("STACK_PORTS"):gmatch("%d+") do
    ports[#ports + 1] = port
  end
  thread:set("number", #threads)
  thread.addr = wrk.lookup("127.0.0.1", ports[#threads % #ports + 1])[1]
  threads[#threads + 1] = thread
end

-- In the environment of each thread.
local people, first, listed_share, listed, prefix, warmup_us, warm_us
local sent, count = {}, 0
latencies, last_us = {}, 0
verdicts = { approve = 0, deny = 0, review = 0 }
sources = { cache = 0, validator = 0, record = 0 }
wrong, example = 0, nil

function init()
  people, first = tonumber(os.getenv("STACK_PEOPLE")), tonumber(os.getenv("STACK_FIRST"))
  listed_share, warmup_us = tonumber(os.getenv("STACK_LISTED_SHARE")), tonumber(os.getenv("STACK_WARMUP")) * 1e6
  local lines = {}
  for line in io.lines(os.getenv("STACK_LIST")) do
    lines[#lines + 1] = line:match("^[^,]+"):gsub("[./-]", "")
  end
  local taken = math.min(#lines - 1, MOST_LISTED)
  listed = {}
  for i = 0, taken - 1 do
    listed[i + 1] = lines[2 + math.floor(i * (#lines - 1) / taken)]
  end
  math.randomseed(first * 64 + number)
  prefix = measure.prefix()
end

-- Ten digits: no document has so few, so none of these is listed.
local function person()
  return ("%010d"):format(first + math.random(0, people - 1))
end

function request()
  count = count + 1
  local payer, payee, is_listed = person(), person(), math.random() < listed_share
  if is_listed then
    local kind = math.random(0, 7)
    if kind < 5 then
      payer = listed[math.random(#listed)]
    end
    if kind == 0 or kind >= 5 then
      payee = listed[math.random(#listed)]
    end
  end
  -- The id says what the answer must be.
  local id = (is_listed and "d" or "a") .. prefix .. ("%016x"):format(count)
  local body = ('{"id":"%s","payer":"%s","payee":"%s","amount":%d}'):format(id, payer, payee, math.random(1, MOST_CENTAVOS))
  sent[id] = measure.now_us()
  return ("POST /decisions HTTP/1.1\r\nHost: stack\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
end

function response(status, _, body)
  local at_us = measure.now_us()
  local id, verdict, source = body:match('^{"id":"(%x+)","verdict":"(%a+)","source":"(%a+)"}$')
  local sent_us = id and sent[id]
  if status ~= 200 or not sent_us then
    wrong, example = wrong + 1, status .. " " .. body
    return
  end
  sent[id] = nil
  -- Not from the first request on: wrk makes one for itself before it connects, to see what they are like.
  warm_us = warm_us or sent_us + warmup_us
  if (verdict == "deny") ~= (id:sub(1, 1) == "d") then
    wrong, example = wrong + 1, body
  end
  sources[source] = sources[source] + 1
  if at_us >= warm_us then
    verdicts[verdict] = verdicts[verdict] + 1
    latencies[#latencies + 1] = at_us - sent_us
    last_us = at_us - warm_us
  end
end

function done(summary)
  local all, measured_us = {}, 0
  local bad, why = measure.errors(summary)
  local told = { approve = 0, deny = 0, review = 0, cache = 0, validator = 0, record = 0 }
  for _, thread in ipairs(threads) do
    for _, latency in ipairs(thread:get("latencies")) do
      all[#all + 1] = latency
    end
    for _, kind in ipairs({ "verdicts", "sources" }) do
      for name, number in pairs(thread:get(kind)) do
        told[name] = told[name] + number
      end
    end
    measured_us = math.max(measured_us, thread:get("last_us"))
    bad = bad + thread:get("wrong")
    why[#why + 1] = thread:get("example")
  end
  if #all == 0 then
    io.stderr:write("the stack answered nothing\n")
    os.exit(1)
  end
  local text = ("{%s,\n"):format(measure.members(all, measured_us))
    .. (' "verdicts": {"approve": %d, "deny": %d, "review": %d},\n'):format(told.approve, told.deny, told.review)
    .. (' "sources": {"cache": %d, "validator": %d, "record": %d}, "wrong": %d}\n'):format(
      told.cache, told.validator, told.record, bad)
  -- A wrong verdict, an error or an id that was there before: the run says nothing.
  measure.report(os.getenv("STACK_OUT"), text, bad + told.record, why)
end
