-- Plots: ticks, scales, smoothing, gaps, bins, and that the same data gives the same bytes. Pure Lua.
local viz = require "forger.viz"
local axes = require "forger.viz.axes"
local svg = require "forger.viz.svg"

-- Tags must nest and every number in the document must be a plain one.
local function check_xml(text)
  local stack = {}
  for close, name, empty in text:gmatch("<(/?)([%a]+)[^>]-(/?)>") do
    if close == "/" then
      assert.equal(table.remove(stack), name)
    elseif empty ~= "/" then
      stack[#stack + 1] = name
    end
  end
  assert.equal(0, #stack)
  assert.is_nil(text:find("nan", 1, true))
  assert.is_nil(text:find("inf", 1, true))
end

local function sequence(n, f)
  local t = {}
  for i = 1, n do
    t[i] = f(i)
  end
  return t
end

describe("ticks", function()
  it("stand at 1, 2 or 5 times a power of ten inside the range", function()
    assert.same({ 0, 0.5, 1 }, (axes.ticks(0, 1, 3)))
    assert.same({ -2, 0, 2, 4 }, (axes.ticks(-3, 5, 4)))
    local values, step = axes.ticks(0, 5000, 5)
    assert.equal(1000, step)
    assert.equal(6, #values)
  end)
  it("are labelled with the digits their distance needs", function()
    assert.equal("0.25", axes.label(0.25, 0.05))
    assert.equal("3", axes.label(3.0, 1))
    assert.equal("5k", axes.label(5000, 1000))
    assert.equal("1500", axes.label(1500, 500))
    assert.equal("0", axes.label(0, 1000))
  end)
  it("of a log axis are powers of ten", function()
    assert.same({ 0.001, 0.01, 0.1, 1.0, 10.0 }, axes.log_ticks(0.001, 10))
    local few = axes.log_ticks(1, 10)
    assert.same({ 1.0, 2.0, 5.0, 10.0 }, few)
  end)
end)

describe("scales", function()
  it("map the ends to the ends", function()
    local s = axes.scale(0, 10, 100, 200)
    assert.equal(100, s(0))
    assert.equal(150, s(5))
    local l = axes.scale(1, 100, 0, 10, true)
    assert.near(5, l(10), 1e-9)
    assert.is_nil(l(0))
  end)
  it("give a range without width some", function()
    local lo, hi = axes.widen(3, 3, 0.05)
    assert.is_true(lo < 3 and hi > 3)
    lo, hi = axes.widen(math.huge, -math.huge, 0.05)
    assert.is_true(lo < hi)
  end)
end)

describe("smoothing", function()
  it("keeps a constant and skips NaN", function()
    local out = viz.smooth({ 2, 2, 0 / 0, 2 }, 0.9)
    assert.near(2, out[1], 1e-12)
    assert.is_true(out[3] ~= out[3])
    assert.near(2, out[4], 1e-12)
  end)
end)

describe("figures", function()
  local y = sequence(3000, function(i) return math.sin(i / 100) + 1.5 end)

  it("of lines hold axes, legend, level and one stroke per series", function()
    local text = viz.render(viz.lines {
      title = "Losses & co", x_label = "step", y_label = "loss", series = { { name = "D", y = y } },
      level = { y = 1.3863, name = "2 ln 2" },
    })
    check_xml(text)
    assert.truthy(text:find("Losses &amp; co", 1, true))
    assert.truthy(text:find(">step<", 1, true))
    assert.truthy(text:find(">2 ln 2<", 1, true))
    assert.truthy(text:find(">1500<", 1, true))
    local strokes = select(2, text:gsub('<path [^>]*stroke="#0072b2"', ""))
    assert.equal(2, strokes) -- faint raw values and the smoothed line
    assert.is_true(#text < 60000, "3,000 points are thinned: " .. #text)
  end)
  it("are the same bytes for the same data", function()
    local function make()
      return viz.render({ viz.lines { series = { { name = "a", y = y } } }, viz.histogram { sets = { { name = "b", values = y } } } })
    end
    assert.equal(make(), make())
  end)
  it("break the line at NaN", function()
    local text = viz.render(viz.lines { series = { { name = "a", y = { 1, 2, 0 / 0, 2, 1 } } }, smooth = 0 })
    check_xml(text)
    local d = text:match('<path d="([^"]+)"')
    assert.equal(2, select(2, d:gsub("M", "")))
  end)
  it("draw nothing but axes without any finite value", function()
    check_xml(viz.render(viz.lines { series = { { name = "a", y = { 0 / 0, 1 / 0 } }, { name = "b", y = {} } } }))
    check_xml(viz.render(viz.histogram { sets = { { name = "a", values = {} } } }))
    check_xml(viz.render(viz.scatter { sets = { { name = "a", x = {}, y = {} } } }))
  end)
  it("with a log axis leave zero out", function()
    check_xml(viz.render(viz.lines { log_y = true, series = { { name = "a", y = { 1, 0, 0.1, 0.01 } } } }))
  end)
  it("smooth logarithms on a log axis", function()
    -- y falls by 10 each 40 points: a straight line, which smoothing of the values themselves would bend upwards
    local falling = sequence(400, function(i) return 10 ^ (-i / 40) end)
    local text = viz.render(viz.lines { log_y = true, smooth = 0.9, series = { { name = "a", y = falling } } })
    check_xml(text)
    local d = text:match('<path d="([^"]+)"[^>]*stroke%-width="2"')
    local xs, ys = {}, {}
    for px, py in d:gmatch("[ML]([%d.]+) ([%d.]+)") do
      xs[#xs + 1], ys[#ys + 1] = tonumber(px), tonumber(py)
    end
    local half = #xs // 2
    local first = (ys[half] - ys[half // 2]) / (xs[half] - xs[half // 2])
    local second = (ys[#ys] - ys[half]) / (xs[#xs] - xs[half])
    assert.near(1, first / second, 0.02)
  end)
  it("share the bins of all sets", function()
    local text = viz.render(viz.histogram { bins = 4, sets = { { name = "a", values = { 0, 0, 0 } }, { name = "b", values = { 4 } } } })
    check_xml(text)
    assert.equal(2, select(2, text:gsub("fill%-opacity=\"0.4\"", "")))
  end)
  it("put points over a surface", function()
    local text = viz.render(viz.scatter {
      square = true, sets = { { name = "real", x = { 0, 1 }, y = { 0, 1 } } },
      surface = { values = { { 0, 0 }, { 1, 1 } }, x_range = { -1, 1 }, y_range = { -1, 1 }, range = { 0, 1 }, scale = "verdict", bands = 2 },
    })
    check_xml(text)
    assert.truthy(text:find("crispEdges", 1, true))
  end)
  it("refuse unknown keys and unequal lengths", function()
    assert.has_error(function() viz.lines { serie = {} } end)
    assert.has_error(function() viz.render(viz.lines { series = { { name = "a", x = { 1 }, y = { 1, 2 } } } }) end,
      "viz.lines: series 'a' has 1 x and 2 y values")
  end)
  it("write numbers shortly", function()
    assert.equal("1", svg.number(1.0))
    assert.equal("0.5", svg.number(0.50))
    assert.equal("-3.14", svg.number(-3.14159))
    assert.equal("0", svg.number(-0.001))
    assert.equal("100", svg.number(100))
  end)
end)
