-- The seam between Lua and C: abuse, scopes, freed handles, files, JSON, the OS layer, help, options, messages.
local fg = require "forger"
local core = require "forger.core"

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), "message: " .. tostring(message))
end

--- Runs Lua code in a fresh interpreter; returns success, what it printed, and its exit status.
local function interpreter(code, environment)
  local name, out = os.tmpname(), os.tmpname()
  local f = assert(io.open(name, "w"))
  f:write(code)
  f:close()
  local lua = os.getenv("LUA") or arg and arg[-1] or "lua5.4"
  local ok, _, status = os.execute(string.format("%s %s %s > %s 2>&1", environment or "", lua, name, out))
  local text = assert(io.open(out)):read("a")
  os.remove(name)
  os.remove(out)
  return ok or false, text, status
end

describe("metamethod abuse", function()
  it("does no harm", function()
    local t = fg.ones(3)
    local mt = getmetatable(t)
    mt.__gc(t)
    mt.__gc(t)
    raises("this tensor holds nothing", t.sum, t)
    for _, wrong in ipairs { io.stdout, {}, 1, "x", print, coroutine.create(print) } do
      for _, name in ipairs { "__gc", "__index", "__newindex", "__len", "__tostring", "__add", "__unm", "__close" } do
        pcall(mt[name], wrong, wrong, wrong)
        pcall(mt[name], wrong)
      end
      pcall(mt.__gc)
      pcall(mt.__index)
    end
    raises("tensor", function() return setmetatable({}, mt).shape end)
    raises("tensor", function() return setmetatable({}, mt) + 1 end)
    local layer = fg.nn.Linear(1, 1)._layer
    local layer_mt = debug.getmetatable(layer)
    layer_mt.__gc(layer)
    layer_mt.__gc(layer)
    layer_mt.__gc(fg.ones(1))
    raises("collected", core.layer_forward, layer, fg.ones(1, 1), true)
    raises("a layer expected", core.layer_forward, fg.ones(1), fg.ones(1, 1), true)
    raises("an optimizer expected, got a tensor", core.optimizer_step, fg.ones(1))
    local scope = fg.scope()
    raises("a scope expected", scope.keep, fg.ones(1))
    local s_mt = debug.getmetatable(scope)
    s_mt.__gc(scope)
    s_mt.__gc(scope)
    s_mt.__close(scope)
    assert.equal(3.0, fg.ones(3):sum():item())
  end)

  it("refuses absurd sizes", function()
    for _, shape in ipairs { { 1 << 62 }, { -1 }, { 1 << 31, 1 << 31, 1 << 31 }, { 1 << 40 }, { 1, 1, 1, 1, 1, 1, 1 } } do
      assert.is_false((pcall(fg.zeros, shape)))
      assert.is_false((pcall(fg.randn, shape)))
    end
    assert.is_false((pcall(fg.eye, 1 << 40)))
    assert.is_false((pcall(fg.arange, 1e18)))
    assert.is_false((pcall(fg.arange, 0, 1, 0)))
    assert.is_false((pcall(fg.linspace, 0, 1, -1)))
    assert.is_false((pcall(fg.randperm, 1 << 40)))
    assert.is_false((pcall(fg.ones(2).slice, fg.ones(2), 1, math.mininteger, math.maxinteger)))
    assert.is_false((pcall(fg.ones(2).get, fg.ones(2), math.mininteger)))
    assert.is_false((pcall(fg.nn.Linear, 1 << 30, 1 << 30)))
    assert.is_false((pcall(fg.nn.Conv2d, 1, 1, { 1 << 30, 1 << 30 })))
    assert.is_false((pcall(fg.set_threads, 1 << 40)))
    assert.equal(3.0, fg.ones(3):sum():item())
  end)
end)

describe("scopes", function()
  it("free what was made inside and keep what is returned or kept", function()
    local lost, kept
    local sum, text = fg.scope(function(s, n)
      lost = fg.ones(n)
      kept = s:keep(fg.ones(n))
      return lost:sum(), "text"
    end, 4)
    assert.equal(4.0, sum:item())
    assert.equal("text", text)
    assert.equal(4.0, kept:sum():item())
    raises("freed by the scope opened at .*binding_spec.lua:%d+: return it or call scope:keep", lost.sum, lost)
  end)

  it("give memory back at once, after errors and in coroutines too", function()
    collectgarbage()
    local before = fg.memory().live
    collectgarbage "stop"
    for _ = 1, 5 do
      fg.scope(function() fg.ones(1000, 1000):exp() end)
      pcall(fg.scope, function()
        fg.ones(1000, 1000)
        error "x"
      end)
      coroutine.resume(coroutine.create(function()
        fg.scope(function()
          fg.ones(1000, 1000)
          error "y"
        end)
      end))
    end
    local after = fg.memory().live
    collectgarbage "restart"
    assert.is_true(after - before < 100000, string.format("%d bytes left", after - before))
  end)

  it("nest, close as variables, and leave parameters alone", function()
    local inner, param
    do
      local s <close> = fg.scope()
      inner = fg.scope(function() return fg.ones(2) end)
      param = fg.nn.Linear(2, 2)
      assert.equal(2.0, s:keep(fg.ones(2)):sum():item())
      assert.same({ 2, 2 }, param.weight.shape)
    end
    raises("freed by the scope", inner.sum, inner)
    assert.same({ 2, 2 }, param.weight.shape)
    local w = fg.ones({ 2, requires_grad = true })
    fg.scope(function() (w * w):sum():backward() end)
    assert.same({ 2.0, 2.0 }, w.grad:totable())
  end)

  it("survive what the collector takes in the middle", function()
    fg.scope(function()
      for _ = 1, 200 do
        fg.ones(10)
      end
      collectgarbage()
      local t = fg.ones(3)
      t:free()
      raises("freed by t:free%(%)", t.sum, t)
      t:free()
    end)
    local dropped = fg.scope()
    local t = fg.ones(3)
    assert.is_not_nil(dropped)
    dropped = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal(3.0, t:sum():item())
  end)
end)

describe("files", function()
  local path = os.tmpname()
  teardown(function() os.remove(path) end)

  it("hold named tensors and strings", function()
    local x = { real = fg.randn(2, 3), ids = fg.tensor({ 1, 2 }, "i32"), bytes = fg.ones { 3, dtype = "u8" }, half = fg.ones(2):to("bf16") }
    assert.is_true(fg.save(path, x, { note = "hello" }))
    local y, meta = fg.load(path)
    assert.equal("hello", meta.note)
    for name, t in pairs(x) do
      assert.is_true(fg.equal(t, y[name]), name)
    end
    raises("'x' is the number 1, not a tensor", fg.save, path, { x = 1 })
    raises("names are strings, got the number 1", fg.save, path, { fg.ones(1) })
    raises("metadata 'a' is the number 1", fg.save, path, { x = fg.ones(1) }, { a = 1 })
    assert.is_true(fg.equal(x.real, fg.load(path).real), "a failed save changed the file")
  end)

  it("are refused with nil and a message", function()
    for _, read in ipairs { fg.load, fg.idx, fg.image.read_png } do
      local v, message = read("/nonexistent/file")
      assert.is_nil(v)
      assert.is_truthy(message:find("/nonexistent/file", 1, true), message)
      core.write_file(path, "damaged")
      v, message = read(path)
      assert.is_nil(v)
      assert.is_truthy(message:find(path, 1, true), message)
    end
    local ok, message = fg.save("/nonexistent/x", { x = fg.ones(1) })
    assert.is_nil(ok)
    assert.is_truthy(message:find("/nonexistent/x", 1, true))
  end)

  it("hold pictures", function()
    local image = fg.randint(4 * 6 * 3, 0, 255):to("u8"):reshape(4, 6, 3)
    assert.is_true(fg.image.write_png(path, image))
    assert.is_true(fg.equal(image, fg.image.read_png(path)))
    local grid = fg.image.grid(fg.ones(5, 4, 4, 1), { cols = 3, pad = 1 })
    assert.same({ 11, 16, 1 }, grid.shape)
    assert.same({ 2, 3, 3 }, fg.image.resize(image, 2, 3).shape)
    assert.same({ 2, 2, 3 }, fg.image.center_crop(image, 2).shape)
    raises("unknown option 'col', did you mean 'cols'", fg.image.grid, grid, { col = 2 })
    raises("'range' is a pair", fg.image.grid, grid, { range = { 1, 0 } })
  end)
end)

describe("json", function()
  it("goes both ways", function()
    local value = { a = { 1, 2.5, "x", true, fg.json.null }, b = {}, c = { d = -3 } }
    local text = fg.json.encode(value)
    assert.equal('{"a":[1,2.5,"x",true,null],"b":{},"c":{"d":-3}}', text)
    assert.same(value, fg.json.decode(text))
    assert.equal("integer", math.type(fg.json.decode("[3]")[1]))
    assert.equal("null", fg.json.encode(0 / 0))
    assert.is_truthy(fg.json.encode(value, true):find("\n  "))
  end)

  it("refuses what it cannot write or read", function()
    raises("only tables, strings, numbers", fg.json.encode, { print })
    raises("only tables", fg.json.encode, fg.ones(1))
    raises("keys of an object are strings", fg.json.encode, { [1.5] = 2 })
    local loop = {}
    loop[1] = loop
    raises("nested", fg.json.encode, loop)
    raises(".", fg.json.encode, "\xff")
    local v, message = fg.json.decode('{"a":1,"a":2}', "x.json")
    assert.is_nil(v)
    assert.is_truthy(message:find("x.json"))
    assert.equal("[1]", fg.json.encode { 1 })
  end)
end)

describe("the OS layer", function()
  it("reads and writes files and folders without os and io", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert.is_true(core.mkdirs(dir .. "/a/b"))
    assert.is_true(core.is_dir(dir .. "/a"))
    assert.is_true(core.write_file(dir .. "/a/x", "one\0two"))
    assert.is_true(core.append_file(dir .. "/a/x", "!"))
    assert.equal("one\0two!", core.read_file(dir .. "/a/x"))
    assert.same({ "b", "x" }, core.list_dir(dir .. "/a"))
    assert.is_true(core.exists(dir .. "/a/x"))
    assert.is_true(core.remove(dir .. "/a/x"))
    assert.is_false(core.exists(dir .. "/a/x"))
    for _, call in ipairs { core.read_file, core.list_dir, core.remove } do
      local v, message = call(dir .. "/none")
      assert.is_nil(v)
      assert.is_truthy(message:find("none"))
    end
    assert.is_nil((core.append_file(dir, "x")))
    os.execute("rm -r " .. dir)
  end)

  it("knows the time, the terminal and signals", function()
    local t = core.clock()
    assert.is_true(core.clock() >= t)
    assert.is_true(core.rss() > 1000000)
    assert.equal("boolean", type(core.is_terminal(2)))
    assert.is_true(core.terminal_columns(2) > 0)
    core.install_sigint()
    assert.is_false(fg.interrupted())
    local self = assert(io.open("/proc/self/stat")):read("n")
    io.popen("kill -INT " .. math.tointeger(self)):close() -- os.execute would ignore the signal meanwhile
    for _ = 1, 1e6 do
      if fg.interrupted() then break end
    end
    assert.is_true(fg.interrupted())
    core.clear_interrupt()
    assert.is_false(fg.interrupted())
    core.remove_sigint()
  end)

  it("keeps streams and settings", function()
    local at = core.stream_get("data")
    local a = fg.random_below(1000, { stream = "data" })
    core.stream_set("data", at)
    assert.equal(a, fg.random_below(1000, "data"))
    assert.equal(8, #core.stream_names())
    raises("did you mean 'bf16'", fg.set_precision, "bf6")
    local was = fg.get_threads()
    fg.set_threads(1)
    assert.equal(1, fg.get_threads())
    fg.set_threads(was)
    raises("1..64", fg.set_threads, 0)
    fg.set_fast_conv(false)
    assert.is_false(fg.get_fast_conv())
    fg.set_fast_conv(true)
    fg.set_precision "auto"
    assert.equal(fg.isa() == "amx" and "bf16" or "f32", fg.get_precision())
    fg.set_precision "bf16"
    assert.equal("bf16", fg.get_precision())
    fg.set_precision "f32"
    assert.equal("f32", fg.get_precision())
    assert.is_true(#fg.cpu() > 0 and #fg.isa() > 0)
  end)
end)

describe("the interpreter", function()
  it("loads fast, twice, and exits cleanly in any state", function()
    local ok, text = interpreter [[
      local a = require "forger.core"
      package.loaded["forger.core"] = nil
      assert(require "forger.core" == a)
      fg = require "forger"
      w = fg.ones{3, requires_grad = true}
      y = (w * w):sum()
      net = fg.nn.Linear(2, 2)
      opt = fg.optim.Adam(net)
      s = fg.scope()
      z = fg.ones(10)
      setmetatable({}, { __gc = function() local t = fg.ones(2) * 2; assert(t:sum():item() == 4); KEEP = t end })
      io.write "done"
    ]]
    assert.is_true(ok)
    assert.equal("done", text)
  end)

  it("says who closed when Lua code runs after the end", function()
    local ok, text = interpreter [[
      local fg
      keep = setmetatable({}, { __gc = function() local ok, m = pcall(fg.ones, 2); io.write(tostring(ok), m) end })
      fg = require "forger"
    ]]
    assert.is_true(ok)
    assert.is_truthy(text:find("falseforger: the Lua state is closing", 1, true), text)
  end)

  it("refuses an unknown FORGER_ISA with a message", function()
    local ok, text = interpreter('require "forger"', "FORGER_ISA=mmx")
    assert.is_false(ok)
    assert.is_truthy(text:find("mmx"))
  end)

  it("needs no os, io, debug, arg", function()
    local ok, text = interpreter [[
      local write, print_ = io.write, print
      os, io, debug, arg, print = nil, nil, nil, nil, nil
      for _, name in ipairs { "os", "io", "debug" } do package.loaded[name] = nil end
      local fg = require "forger"
      local net = fg.nn.Sequential { fg.nn.Linear(2, 2), fg.nn.ReLU() }
      local opt = fg.optim.SGD(net)
      net(fg.ones(1, 2)):sum():backward()
      opt:step()
      fg.nn.summary(net, { 1, 2 })
      fg.help "sum"
      write(tostring(net):sub(1, 10))
    ]]
    assert.is_true(ok, text)
    assert.is_truthy(text:find("Sequential"))
  end)

  it("exits two hundred times without a crash", function()
    local ok, text = interpreter(([[
      local n = 0
      for i = 1, 200 do
        local ok = os.execute(%q)
        if not ok then n = n + 1 end
      end
      io.write(n, " failures")
    ]]):format((os.getenv("LUA") or "lua5.4")
      .. [[ -e 'fg = require "forger"; x = fg.ones{300, 300, requires_grad = true}; y = (x:matmul(x)):sum(); y:backward()']]))
    assert.is_true(ok)
    assert.equal("0 failures", text)
  end)
end)

describe("the reference", function()
  local documented = {}
  it("has a signature and a sentence for each name, once", function()
    for _, section in ipairs(require "forger.reference") do
      for _, entry in ipairs(section) do
        assert.equal(3, #entry, entry[1])
        assert.is_nil(documented[entry[1]], entry[1] .. " twice")
        documented[entry[1]] = true
        assert.is_truthy(entry[3]:find("%.$"), entry[1] .. ": no full stop")
      end
    end
  end)

  it("covers the module and nothing else", function()
    local public = {}
    local function add(prefix, t, skip)
      for name, value in pairs(t) do
        if (type(value) == "function" or (type(value) == "table" and value.is_forger_module)) and not name:find("^__") and not skip[name] then
          public[prefix .. name] = true
        end
      end
    end
    add("t:", core.methods, {})
    local functions = {}
    for name, value in pairs(core.methods) do
      functions[name] = type(value) == "function"
    end
    add("fg.", fg, functions)
    add("fg.json.", fg.json, {})
    add("fg.image.", fg.image, {})
    add("nn.", fg.nn, {})
    add("nn.init.", fg.nn.init, {})
    add("net:", fg.nn.Module, {})
    public["net:append"] = true
    add("optim.", fg.optim, {})
    for _, name in ipairs { "step", "zero_grad", "get_lr", "set_lr", "state_dict", "load_state_dict" } do
      assert.equal("function", type(fg.optim.SGD({ fg.ones { 1, requires_grad = true } })[name]))
      public["opt:" .. name] = true
    end
    for name in pairs(public) do
      assert.is_true(documented[name] or false, "undocumented: " .. name)
    end
    for name in pairs(documented) do
      assert.is_true(public[name] or false, "documented but absent: " .. name)
    end
  end)

  it("is printed by fg.help", function()
    local help = require "forger.help"
    assert.is_truthy(help.text("Conv2d"):find("nn.Conv2d(", 1, true))
    assert.is_truthy(help.text("t:sum"):find("Sum over axes", 1, true))
    assert.is_truthy(help.text():find("Gradients"))
    raises("help: unknown name 'Conv2', did you mean 'Conv2d'", fg.help, "Conv2")
  end)
end)

describe("memory that runs out", function()
  it("is asked for once more after a collection, then reported", function()
    local x = fg.ones(100, 100)
    core.memory_fail_nth(1, true)
    assert.equal(20000.0, (x + 1):sum():item())
    core.memory_fail_nth(1, false)
    raises("out of memory", function() return x + 1 end)
    assert.equal(20000.0, (x + 1):sum():item())
    core.memory_fail_nth(0)
  end)

  it("leaves a training step's state usable wherever it fails", function()
    local nn = fg.nn
    fg.manual_seed(1)
    local net = nn.Sequential { nn.Conv2d(1, 4, 3, { stride = 2 }), nn.BatchNorm(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 1) }
    local opt = fg.optim.Adam(net)
    local x = fg.randn(4, 8, 8, 1)
    local function step()
      opt:zero_grad()
      fg.bce_with_logits(net(x), 1):backward()
      opt:step()
    end
    step()
    collectgarbage()
    collectgarbage "stop"
    local failures, n = 0, 0
    repeat
      n = n + 1
      core.memory_fail_nth(n, false)
      local ok, message = pcall(step)
      local used = core.memory_fail_nth(0)
      assert.is_nil(used)
      if not ok then
        failures = failures + 1
        assert.is_truthy(message:find("out of memory"), message)
      end
    until ok or n > 2000
    collectgarbage "restart"
    assert.is_true(failures > 20, failures .. " failures")
    step()
    assert.is_true(net[1].weight:is_finite())
  end)
end)
