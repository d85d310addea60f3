-- The garbage rule: megabytes behind small handles, without anybody calling collectgarbage.
local fg = require "forger"

local function live() return fg.memory().live end

describe("garbage", function()
  before_each(function()
    collectgarbage()
    collectgarbage()
    fg.memory_reset_peak()
  end)

  it("is collected when the allocator's live bytes have grown", function()
    local before = live()
    local x = fg.ones(1000, 1000) -- 4 MB
    for _ = 1, 200 do
      local _ = x + 1
    end
    assert.is_true(fg.memory().peak - before < 200 * 1e6, string.format("peak %d MB", (fg.memory().peak - before) // 1000000))
  end)

  it("stays when the collector is stopped", function()
    collectgarbage "stop"
    local before = live()
    for _ = 1, 40 do
      fg.ones(1000, 1000)
    end
    local grown = live() - before
    collectgarbage "restart"
    assert.is_true(grown >= 40 * 4e6)
    collectgarbage()
    assert.is_true(live() - before < 1e6)
  end)

  it("does not make the collector run all the time when the memory is in use", function()
    local keep, collections = {}, 0
    local sentinel
    sentinel = function()
      setmetatable({}, { __gc = function()
        collections = collections + 1
        if collections < 1000 then sentinel() end
      end })
    end
    collectgarbage "stop"
    collectgarbage "restart"
    sentinel()
    for i = 1, 150 do
      keep[i] = fg.ones(1000, 1000)
    end
    assert.equal(150, #keep)
    assert.is_true(collections < 12, collections .. " collections for 600 MB that are in use")
  end)

  it("holds graphs without holding Lua values", function()
    local before = live()
    do
      local w = fg.ones { 1000, 100, requires_grad = true }
      local y = w
      for _ = 1, 50 do
        y = y * 1.01
      end
      assert.is_true(live() - before > 50 * 4e5 * 0.5)
      assert.is_not_nil(y)
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(live() - before < 1e5, (live() - before) .. " bytes left")
  end)

  it("frees a long chain without recursion", function()
    local w = fg.ones { 1, requires_grad = true }
    local y = w
    for _ = 1, 40000 do
      y = y + w
    end
    y:backward()
    assert.equal(40001.0, w.grad:item())
    y = w
    for _ = 1, 40000 do
      y = y + w
    end
    y = nil -- luacheck: ignore
    collectgarbage()
  end)

  it("stays flat over many training steps with and without scopes", function()
    local nn = fg.nn
    local net = nn.Sequential { nn.Linear(20, 50), nn.LeakyReLU(0.2), nn.Linear(50, 1) }
    local opt = fg.optim.Adam(net)
    local x = fg.randn(64, 20)
    local function step()
      opt:zero_grad()
      fg.bce_with_logits(net(x), 1):backward()
      opt:step()
    end
    for _ = 1, 50 do
      fg.scope(step)
    end
    local before = live()
    fg.memory_reset_peak()
    collectgarbage "stop"
    for _ = 1, 200 do
      fg.scope(step)
    end
    collectgarbage "restart"
    assert.equal(before, live())
    local peak = fg.memory().peak
    fg.memory_reset_peak()
    collectgarbage "generational"
    for _ = 1, 200 do
      fg.scope(step)
    end
    collectgarbage "incremental"
    assert.equal(peak, fg.memory().peak, "the peak depends on the collector's timing")
  end)

  it("interns parameters only while somebody holds them", function()
    local net = fg.nn.Linear(3, 3)
    local before = collectgarbage "count"
    for _ = 1, 1000 do
      local _ = net.weight
      collectgarbage "step"
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 50)
    local w = net.weight
    net = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.same({ 3, 3 }, w.shape)
    assert.equal(9, w:numel())
  end)
end)
