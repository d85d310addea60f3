-- The progress line with a clock, a width and an output of the test's own. Pure Lua.
local train = require "forger.train"

local function fixture(options)
  local f = { now = 0, text = {} }
  options.clock = function() return f.now end
  options.out = function(t) f.text[#f.text + 1] = t end
  options.columns = function() return f.columns end
  options.color = options.color or false
  f.bar = train.progress(options)
  function f.output() return table.concat(f.text) end
  return f
end

describe("the progress line on a terminal", function()
  it("shows step, percent, bar, rate, ETA and text", function()
    local f = fixture { total = 5000, terminal = true }
    f.columns = 200
    f.now = 10
    f.bar:update(1250, "D 1.23 G 0.98")
    assert.equal("\rstep 1250/5000   25%|###       | 125.0 it/s ETA 0:30  D 1.23 G 0.98\27[K", f.output())
  end)
  it("is redrawn at most ten times a second", function()
    local f = fixture { total = 1000, terminal = true }
    for i = 1, 1000 do
      f.now = i / 1000
      f.bar:update(i, "")
    end
    assert.is_true(#f.text >= 9 and #f.text <= 11, "drawn " .. #f.text .. " times")
  end)
  it("never passes the terminal's width", function()
    local f = fixture { total = 5000, terminal = true }
    f.columns = 40
    f.now = 1
    f.bar:update(100, string.rep("x", 100))
    assert.equal(39, #f.output() - #"\r\27[K")
  end)
  it("colours the bar alone, and takes no width for it", function()
    local f = fixture { total = 10, terminal = true, color = true }
    f.columns = 60
    f.now = 1
    f.bar:update(5, string.rep("x", 100))
    local text = f.output()
    assert.truthy(text:find("|\27[32m#####     \27[0m|", 1, true))
    assert.equal(59, #(text:gsub("\27%[%d*[mK]", "")) - 1)
  end)
  it("formats its text only when it is drawn", function()
    local f, calls = fixture { total = 1000, terminal = true }, 0
    for i = 1, 100 do
      f.now = i / 10000
      f.bar:update(i, function() calls = calls + 1 return "" end)
    end
    assert.equal(1, calls)
  end)
  it("ends its line", function()
    local f = fixture { total = 10, terminal = true }
    f.now = 4
    f.bar:update(10, "done")
    f.bar:finish()
    assert.truthy(f.output():find("10/10  100%|##########| 2.5 it/s in 0:04  done\27[K\n", 1, true))
  end)
  it("puts messages above itself", function()
    local f = fixture { total = 10, terminal = true }
    f.now = 1
    f.bar:update(1, "")
    f.bar:message("note")
    assert.truthy(f.output():find("\r\27[Knote\n\rstep 1/10", 1, true))
  end)
end)

describe("the progress line elsewhere", function()
  it("is a plain line every few seconds, without control characters", function()
    local f = fixture { total = 100, terminal = false, plain_interval = 5 }
    for i = 1, 100 do
      f.now = i / 5
      f.bar:update(i, "D 1")
    end
    f.bar:finish()
    assert.is_nil(f.output():find("[\r\27]"))
    assert.is_true(#f.text >= 4 and #f.text <= 6, #f.text .. " lines")
    assert.equal("step 10/100   10% 5.0 it/s ETA 0:18  D 1\n", f.text[1])
    assert.equal("step 100/100  100% 5.0 it/s in 0:20  D 1\n", f.text[#f.text])
  end)
  it("shows slow steps as seconds per step", function()
    local f = fixture { total = 10, terminal = false }
    f.now = 8
    f.bar:update(2, "")
    assert.equal("step 2/10   20% 4.00 s/it ETA 0:32\n", f.text[1])
  end)
end)

describe("schedules", function()
  it("decay linearly after their start", function()
    local f = train.schedules.linear { from = 0.6, to = 0.01 }
    assert.equal(1, f(0, 5000))
    assert.equal(1, f(3000, 5000))
    assert.near(0.505, f(4000, 5000), 1e-12)
    assert.near(0.01, f(5000, 5000), 1e-12)
  end)
  it("follow half a cosine", function()
    local f = train.schedules.cosine { to = 0 }
    assert.equal(1, f(0, 10))
    assert.near(0.5, f(5, 10), 1e-12)
    assert.near(0, f(10, 10), 1e-12)
  end)
end)
