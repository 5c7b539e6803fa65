-- Ranks of random members of a board of as many as MEMBERS says; where the path ends in /scores, new scores of them.
dofile(debug.getinfo(1, "S").source:sub(2):match("^(.*/)") .. "load.lua")

math.randomseed(os.time())
local last = tonumber(os.getenv("MEMBERS")) - 1
local before, after

-- What is asked is put together from three strings, so that the load generator costs hardly more than with one request for all.
init = function()
    before, after = wrk.format("GET", wrk.path .. "/m\0"):match("^(.*)%z(.*)$")
end

request = function()
    return before .. math.random(0, last) .. after
end

if wrk.path:match("/scores$") then
    request = function()
        return wrk.format("POST", wrk.path, nil, string.format('{"member":"m%d","score":%d}', math.random(0, last), math.random(0, 1000000006)))
    end
end
