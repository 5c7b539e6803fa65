-- PUTs of rows: of ids at random below 100,000; or, when WRITES says how many there are to be, of further ids, each once.
dofile(debug.getinfo(1, "S").source:sub(2):match("^(.*/)") .. "load.lua")

-- What is written always differs from what is there: SQLite does not write, nor sync, a row that stays as it is.
math.randomseed(os.time())
local at, answered, first = 0, 0, math.random(1000000000)
local last = tonumber(os.getenv("WRITES"))

request = function()
    at = at + 1
    local id = last and 1000000 + at or math.random(0, 99999)
    return wrk.format("PUT", wrk.path .. id, nil, string.format('{"value":%d,"note":"Written by the benchmark, as short as rows often are."}', first + at))
end

-- When that many have been answered there is a file that says so; wrk itself goes on to sleep for its time.
if last then
    response = function()
        answered = answered + 1
        if answered == last then
            io.open(os.getenv("WRITES_DONE"), "w"):close()
            wrk.thread:stop()
        end
    end
end
