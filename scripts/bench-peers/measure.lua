-- What the loads of wrk share: a clock, ids of their own, quantiles, and what went wrong. `dofile` gives it; wrk runs in the project's root.
--
-- wrk's own latencies are not taken: it adds some that it did not see, to make up for a closed loop, and catraca-loadgen does not. So times
-- are from when a request is made until its answer is read, as there; those of the warm-up are left out.

local measure = {}

local ffi = require("ffi")
ffi.cdef([[
  struct moment { long s; long ns; };
  int clock_gettime(int clock, struct moment *moment);
]])
local moment = ffi.new("struct moment")

-- Microseconds of the clock that nobody sets.
function measure.now_us()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.s) * 1e6 + tonumber(moment.ns) / 1e3
end

-- Nanoseconds since 1970, as text: more digits than a number of Lua has.
function measure.wall_clock_ns()
  ffi.C.clock_gettime(0, moment)
  return ("%d%09d"):format(tonumber(moment.s), tonumber(moment.ns))
end

-- Fifteen hexadecimal digits of chance, which ids of one run begin with.
function measure.prefix()
  local random = io.open("/dev/urandom", "rb")
  local bytes = random:read(8)
  random:close()
  return ("%02x%02x%02x%02x%02x%02x%02x%02x"):format(bytes:byte(1, 8)):sub(1, 15)
end

-- Members of a report: answers of so many seconds, and the quantiles of their latencies. Sorts these.
function measure.members(latencies, measured_us)
  table.sort(latencies)
  local function quantile(share)
    return latencies[math.min(#latencies, math.floor(share * #latencies) + 1)]
  end
  return ('"answered": %d, "seconds": %.3f, "throughput_per_s": %.1f,\n'):format(
    #latencies, measured_us / 1e6, #latencies / measured_us * 1e6)
    .. (' "latency_us": {"p50": %.1f, "p99": %.1f, "p99_9": %.1f, "max": %.1f}'):format(
      quantile(0.5), quantile(0.99), quantile(0.999), latencies[#latencies])
end

-- How many errors wrk met, and each kind of them in words.
function measure.errors(summary)
  local bad, why = 0, {}
  for name, number in pairs(summary.errors) do
    bad = bad + number
    if number > 0 then
      why[#why + 1] = ("%d errors: %s"):format(number, name)
    end
  end
  return bad, why
end

-- Writes a report. Where anything was wrong, the run says nothing: it ends.
function measure.report(path, text, bad, why)
  local out = assert(io.open(path, "w"))
  out:write(text)
  out:close()
  if bad > 0 then
    io.stderr:write(text, table.concat(why, "\n"), "\n")
    os.exit(3)
  end
end

return measure
