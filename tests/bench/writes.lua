-- PUTs of rows: of ids at random below 100,000; or, when WRITES names how many there are to be, of further ids, each once.
dofile(debug.getinfo(1, "S").source:sub(2):match("^(.*/)") .. "load.lua")

local at, answered = 0, 0
local last = tonumber(os.getenv("WRITES"))

request = function()
    at = at + 1
    local id = last and 1000000 + at or math.random(0, 99999)
    return wrk.format("PUT", wrk.path .. id, nil, string.format('{"value":%d,"note":"Written by the benchmark, as short as rows often are."}', at))
end

if last then
    response = function()
        answered = answered + 1
        if answered >= last then wrk.thread:stop() end
    end
end
