-- What one op on a tensor of one element costs from Lua, with its garbage: the floor under every small network.
--   forward: c = a + b, results dropped for Lua's collector.   backward: a chain of ten ops, then :backward().
local fg = require "forger"
local clock = require("forger.core").clock
fg.set_threads(1)

local function median(f, n, repeats)
  local times = {}
  for i = 1, repeats do
    collectgarbage()
    local t = clock()
    f(n)
    times[i] = (clock() - t) / n
  end
  table.sort(times)
  return times[(repeats + 1) // 2] * 1e6
end

local a, b = fg.ones(1), fg.ones(1)
local function forward(n)
  for _ = 1, n do
    local _ = a + b
  end
end

local w = fg.ones(1)
w.requires_grad = true
local function backward(n)
  for _ = 1, n // 10 do
    local y = w * b
    for _ = 1, 8 do
      y = y + b
    end
    y:sum():backward()
  end
end

local f, fb = median(forward, 200000, 7), median(backward, 100000, 7)
print(string.format("one op on a [1] tensor from Lua: %.2f us forward (goal 1), %.2f us with backward (goal 2)", f, fb))
