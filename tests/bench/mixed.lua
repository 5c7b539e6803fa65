-- Requests of every kind that reads: mostly hits, and of a few thousand keys.
local at = 0

request = function()
    at = at + 1
    local path
    if at % 10 == 1 then path = "/api/bench/items/" .. at % 5000
    elseif at % 10 == 2 then path = "/api/bench/list"
    elseif at % 100 == 3 then path = "/api/stocks/NOSUCH" .. at % 7
    elseif at % 100 == 13 then path = "/api/stocks/?limit=0"
    elseif at % 100 == 23 then path = "/nowhere"
    else path = "/api/stocks/AAPL" end
    return wrk.format("GET", path, {["Accept-Encoding"] = at % 3 == 0 and "gzip" or nil})
end
