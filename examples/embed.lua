-- A script for a host program that carries Forger inside: build examples/embed.c (make examples), then run
--   embed lua examples/embed.lua
-- The host has put a tensor into the global `from_host`; what this script returns goes back to it.
if _VERSION ~= "Lua 5.4" then
  error("this needs Lua 5.4, and " .. _VERSION .. " is running it", 0)
end
if not from_host then -- luacheck: ignore 113
  error("this script needs its host: run it as `embed lua examples/embed.lua`", 0)
end

local fg = require "forger"
local nn, optim = fg.nn, fg.optim

print("from the host:")
print(from_host) -- luacheck: ignore 113

-- Learn y = x1 - 2 x2 with a small network.
fg.manual_seed(1)
local net = nn.Sequential { nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1) }
local opt = optim.Adam(net:parameters(), { lr = 1e-2 })
local loss
for step = 1, 300 do
  local x = fg.rand(64, 2)
  local y = x:slice(2, 1, 1) - x:slice(2, 2, 2) * 2
  opt:zero_grad()
  loss = (net(x) - y):square():mean()
  loss:backward()
  opt:step()
  if step % 100 == 0 then print(string.format("step %3d  loss %.5f", step, loss:item())) end
end

return from_host:sum() -- luacheck: ignore 113
