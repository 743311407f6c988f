-- The load of bench-http.sh, for wrk: a closed loop of payments to POST /v1/decisions, each answer checked to be the decision that is due.
--
-- In the environment: HTTP_TOKEN, HTTP_PEOPLE and HTTP_LISTED (files of documents, one a line), HTTP_LISTED_SHARE, HTTP_WARMUP (seconds),
-- STACK_OUT (JSON). For one thread of wrk.

local measure = dofile("scripts/bench-peers/measure.lua")

local MOST_CENTAVOS = 500000

local only

function setup(thread)
  only = thread
end

-- In the environment of the thread.
local people, listed, listed_share, prefix, head, warmup_us, warm_us
local sent, count = {}, 0
latencies, last_us = {}, 0
approved, denied = 0, 0
wrong, example = 0, nil

local function lines(path)
  local all = {}
  for line in io.lines(path) do
    all[#all + 1] = line
  end
  return all
end

function init()
  people, listed = lines(os.getenv("HTTP_PEOPLE")), lines(os.getenv("HTTP_LISTED"))
  listed_share, warmup_us = tonumber(os.getenv("HTTP_LISTED_SHARE")), tonumber(os.getenv("HTTP_WARMUP")) * 1e6
  head = "POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    .. os.getenv("HTTP_TOKEN") .. "\r\nContent-Type: application/json\r\nContent-Length: "
  prefix = measure.prefix()
  math.randomseed(tonumber(prefix:sub(1, 8), 16))
end

function request()
  count = count + 1
  local is_listed = math.random() < listed_share
  local payer, payee = people[math.random(#people)], people[math.random(#people)]
  if is_listed and count % 2 == 0 then
    payer = listed[math.random(#listed)]
  elseif is_listed then
    payee = listed[math.random(#listed)]
  end
  -- The id says what the answer must be.
  local id = (is_listed and "d" or "a") .. prefix .. ("%016x"):format(count)
  local body = ('{"transaction_id":"%s","payer":"%s","payee":"%s","amount_centavos":%d,"event_time_ns":%s}'):format(
    id, payer, payee, math.random(1, MOST_CENTAVOS), measure.wall_clock_ns())
  sent[id] = measure.now_us()
  return head .. #body .. "\r\n\r\n" .. body
end

function response(status, _, body)
  local at_us = measure.now_us()
  local id, verdict = body:match('^{"transaction_id":"(%x+)","verdict":"(%a+)",')
  local sent_us = id and sent[id]
  local due = id and (id:sub(1, 1) == "d" and "deny" or "approve")
  if status ~= 200 or not sent_us or verdict ~= due or not body:find('"duplicate":false', 1, true) then
    wrong, example = wrong + 1, status .. " " .. body
    return
  end
  sent[id] = nil
  -- Not from the first request on: wrk makes one for itself before it connects, to see what they are like.
  warm_us = warm_us or sent_us + warmup_us
  if at_us >= warm_us then
    if verdict == "deny" then
      denied = denied + 1
    else
      approved = approved + 1
    end
    latencies[#latencies + 1] = at_us - sent_us
    last_us = at_us - warm_us
  end
end

function done(summary)
  local bad, why = measure.errors(summary)
  bad = bad + only:get("wrong")
  why[#why + 1] = only:get("example")
  local all = only:get("latencies")
  if #all == 0 then
    io.stderr:write("no decision at all\n", table.concat(why, "\n"), "\n")
    os.exit(1)
  end
  local text = ("{%s,\n"):format(measure.members(all, only:get("last_us")))
    .. (' "verdicts": {"approve": %d, "deny": %d},\n'):format(only:get("approved"), only:get("denied"))
    .. (' "requests": %d, "wrong": %d}\n'):format(summary.requests, bad)
  measure.report(os.getenv("STACK_OUT"), text, bad, why)
end
