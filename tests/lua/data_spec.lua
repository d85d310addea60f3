-- Data sets and loaders: order, epochs, resuming, MNIST's four files, picture folders, damaged input.
local fg = require "forger"
local core = require "forger.core"
local data = fg.data

local function folder()
  local path = os.tmpname()
  os.remove(path)
  assert(core.mkdirs(path))
  return path
end

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

-- An IDX file of unsigned bytes.
local function idx(dims, bytes)
  local head = "\0\0\8" .. string.char(#dims)
  for _, n in ipairs(dims) do
    head = head .. string.pack(">I4", n)
  end
  return head .. bytes
end

local function numbers(n)
  local t = {}
  for i = 1, n do
    t[i] = i
  end
  return data.TensorDataset(fg.tensor(t))
end

local function collect(loader)
  local seen = {}
  for x in loader:epoch() do
    for _, v in ipairs(x:totable()) do
      seen[#seen + 1] = math.tointeger(v)
    end
  end
  return seen
end

local function sorted(t)
  local copy = table.move(t, 1, #t, 1, {})
  table.sort(copy)
  return copy
end

describe("data.Loader", function()
  before_each(function()
    fg.manual_seed(3)
  end)

  it("counts minibatches and drops the last, smaller one by default", function()
    assert.equal(3, #data.Loader(numbers(10), { batch = 3 }))
    assert.equal(4, #data.Loader(numbers(10), { batch = 3, drop_last = false }))
    assert.equal(9, #collect(data.Loader(numbers(10), { batch = 3 })))
    assert.equal(10, #collect(data.Loader(numbers(10), { batch = 3, drop_last = false })))
  end)
  it("gives every item once an epoch, in another order each time", function()
    local loader = data.Loader(numbers(50), { batch = 5 })
    local first, second = collect(loader), collect(loader)
    assert.not_same(first, second)
    for _, seen in ipairs { first, second } do
      local s = sorted(seen)
      for i = 1, 50 do
        assert.equal(i, s[i])
      end
    end
  end)
  it("keeps the order with shuffle = false", function()
    assert.same({ 1, 2, 3, 4, 5 }, collect(data.Loader(numbers(5), { batch = 2, shuffle = false, drop_last = false })))
  end)
  it("repeats the order with the same seed, whatever other streams do", function()
    local first = collect(data.Loader(numbers(50), { batch = 5 }))
    fg.manual_seed(3)
    fg.randn(7, { stream = "latent" })
    assert.same(first, collect(data.Loader(numbers(50), { batch = 5 })))
  end)
  it("wraps around with next", function()
    local loader = data.Loader(numbers(6), { batch = 2 })
    local seen = {}
    for _ = 1, 6 do
      for _, v in ipairs(loader:next():totable()) do
        seen[#seen + 1] = math.tointeger(v)
      end
    end
    assert.same({ 1, 2, 3, 4, 5, 6 }, sorted({ table.unpack(seen, 1, 6) }))
    assert.same({ 1, 2, 3, 4, 5, 6 }, sorted({ table.unpack(seen, 7, 12) }))
    assert.equal(2, loader.epochs)
  end)
  it("starts afresh after an early break", function()
    local loader = data.Loader(numbers(6), { batch = 2 })
    local count = 0
    for _ in loader:epoch() do
      count = count + 1
      if count == 2 then
        break
      end
    end
    assert.equal(6, #collect(loader))
  end)
  it("draws with replacement when asked", function()
    local seen = collect(data.Loader(numbers(1000), { batch = 100, replacement = true }))
    local distinct, count = {}, 0
    for _, v in ipairs(seen) do
      assert.is_true(v >= 1 and v <= 1000)
      if not distinct[v] then
        distinct[v], count = true, count + 1
      end
    end
    assert.is_true(count > 560 and count < 700, "1 - 1/e of 1000 expected, got " .. count)
  end)
  it("resumes in the middle of an epoch", function()
    local loader = data.Loader(numbers(20), { batch = 2 })
    loader:next()
    for _ = 1, 12 do
      loader:next()
    end
    local state, stream = loader:state_dict(), core.stream_get("data")
    local rest = {}
    for i = 1, 15 do
      rest[i] = loader:next():totable()
    end
    fg.manual_seed(99)
    core.stream_set("data", stream)
    local other = data.Loader(numbers(20), { batch = 2 })
    other:load_state_dict(fg.json.decode(fg.json.encode(state)))
    for i = 1, 15 do
      assert.same(rest[i], other:next():totable())
    end
  end)
  it("refuses a state of another set", function()
    local loader = data.Loader(numbers(20), { batch = 2 })
    assert.has_error(function()
      data.Loader(numbers(10), { batch = 2 }):load_state_dict(loader:state_dict())
    end)
  end)
  it("refuses impossible settings in one line", function()
    assert.has_error(function() data.Loader(numbers(3), { batch = 4 }) end)
    assert.has_error(function() data.Loader(numbers(3), { batch = 0 }) end)
    assert.has_error(function() data.Loader(numbers(3), { batchsize = 2 }) end,
      "data.Loader: unknown option 'batchsize', did you mean 'batch'?")
  end)
  it("raises what the set raises", function()
    local broken = setmetatable({ batch = function() error("page 7 is torn", 0) end }, { __len = function() return 4 end })
    assert.has_error(function() data.Loader(broken, { batch = 2 }):next() end, "page 7 is torn")
  end)
  it("gives all tensors of a set", function()
    local set = data.TensorDataset(fg.tensor { { 1, 10 }, { 2, 20 } }, fg.tensor({ 7, 8 }, { dtype = "i32" }))
    local x, y = set:batch { 2, 1, 2 }
    assert.same({ { 2, 20 }, { 1, 10 }, { 2, 20 } }, x:totable())
    assert.same({ 8, 7, 8 }, y:totable())
    assert.has_error(function() data.TensorDataset(fg.zeros(2), fg.zeros(3)) end)
  end)
end)

describe("data.mnist", function()
  local dir
  before_each(function()
    dir = folder()
    write(dir .. "/train-images-idx3-ubyte", idx({ 3, 2, 2 }, string.char(0, 255, 51, 102, 1, 2, 3, 4, 5, 6, 7, 8)))
    write(dir .. "/train-labels-idx1-ubyte", idx({ 3 }, string.char(4, 9, 0)))
  end)

  it("reads images into the range and labels as integers", function()
    local set = assert(data.mnist(dir))
    assert.equal(3, #set)
    local x, y = set:batch { 1, 3 }
    assert.same({ 2, 2, 2, 1 }, x.shape)
    assert.near(-1, x:get(1, 1, 1, 1), 1e-6)
    assert.near(1, x:get(1, 1, 2, 1), 1e-6)
    assert.near(-0.6, x:get(1, 2, 1, 1), 1e-6)
    assert.same({ 4, 0 }, y:totable())
    assert.equal("i32", y.dtype)
    local unit = assert(data.mnist(dir, { range = { 0, 1 } })):batch { 1 }
    assert.near(0.2, unit:get(1, 2, 1, 1), 1e-6)
  end)
  it("looks beside the script, in $FORGER_DATA and in the installed examples", function()
    local base = folder()
    local root = io.popen("pwd"):read("l")
    local function found(setting, path)
      local command = "cd " .. base .. " && " .. setting .. " " .. (os.getenv("LUA") or "lua5.4") .. " " .. path .. " 2>&1"
      local pipe = io.popen(command)
      local text = pipe:read("a"):gsub("%s+$", "")
      pipe:close()
      return text
    end
    local function place(path)
      assert(core.mkdirs(path))
      assert(os.execute("env -u LD_PRELOAD cp " .. dir .. "/* " .. path))
    end
    write(base .. "/s.lua", "print(require('forger').data.mnist_folder())")
    place(base .. "/given/mnist")
    assert.equal(base .. "/given/mnist", found("FORGER_DATA=" .. base .. "/given", "s.lua"))
    assert.equal(base .. "/given/mnist", found("FORGER_DATA=" .. base .. "/given/mnist", "s.lua"))
    assert.equal(root .. "/examples/data/mnist", found("env -u FORGER_DATA", "s.lua")) -- this source tree
    for _, home in ipairs { "tree/share/forger", "rocks/lib/luarocks/rocks-5.4/forger/dev-1" } do
      local tree = base .. "/" .. home:match("^%a+")
      assert(core.mkdirs(tree .. "/share/lua/5.4"))
      assert(os.execute("ln -s " .. root .. "/lua/forger " .. tree .. "/share/lua/5.4/forger"))
      place(base .. "/" .. home .. "/examples/data/mnist")
      local path = tree .. "/share/lua/5.4/?"
      assert.equal(base .. "/" .. home .. "/examples/data/mnist",
        found("env -u FORGER_DATA LUA_PATH='" .. path .. ".lua;" .. path .. "/init.lua'", "s.lua"))
    end
    place(base .. "/data/mnist")
    assert.equal("./data/mnist", found("FORGER_DATA=" .. base .. "/given", "s.lua"))
  end)
  it("says where it looked", function()
    local set, message = data.mnist(dir .. "/nowhere")
    assert.is_nil(set)
    assert.equal(dir .. "/nowhere: no such folder", message)
    set, message = data.mnist(dir, { split = "test" })
    assert.is_nil(set)
    assert.truthy(message:find("t10k-images", 1, true))
  end)
  it("refuses counts that disagree and files cut short, naming them", function()
    write(dir .. "/train-labels-idx1-ubyte", idx({ 2 }, string.char(4, 9)))
    local set, message = data.mnist(dir)
    assert.is_nil(set)
    assert.truthy(message:find("3 train images but 2 labels", 1, true))
    write(dir .. "/train-images-idx3-ubyte", idx({ 3, 2, 2 }, "abc"))
    set, message = data.mnist(dir)
    assert.is_nil(set)
    assert.truthy(message:find("train-images-idx3-ubyte", 1, true))
  end)
end)

describe("data.image_folder", function()
  it("resizes, crops and puts everything into the range", function()
    local dir = folder()
    local wide = fg.zeros { 10, 20, 3, dtype = "u8" }
    assert(fg.image.write_png(dir .. "/b.png", wide))
    assert(fg.image.write_png(dir .. "/a.png", fg.full({ 8, 8, 3 }, 1.0)))
    local set = assert(data.image_folder(dir, { size = 8 }))
    assert.equal(2, #set)
    local x, y = set:batch { 1, 2 }
    assert.same({ 2, 8, 8, 3 }, x.shape)
    assert.is_nil(y)
    assert.near(1, x:get(1, 4, 4, 1), 1e-6) -- a.png comes first
    assert.near(-1, x:get(2, 4, 4, 1), 1e-6)
    local lazy = assert(data.image_folder(dir, { size = 8, keep = false }))
    assert.is_true(fg.equal(x, (lazy:batch { 1, 2 })))
  end)
  it("numbers subfolders as classes", function()
    local dir = folder()
    for _, class in ipairs { "dog", "cat" } do
      assert(core.mkdirs(dir .. "/" .. class))
      assert(fg.image.write_png(dir .. "/" .. class .. "/1.png", fg.zeros { 4, 4, 3, dtype = "u8" }))
    end
    local set = assert(data.image_folder(dir, { size = 4 }))
    assert.same({ "cat", "dog" }, set.classes)
    assert.same({ 0, 1 }, (select(2, set:batch { 1, 2 })):totable())
  end)
  it("names a damaged file, and an empty folder", function()
    local dir = folder()
    local set, message = data.image_folder(dir)
    assert.is_nil(set)
    assert.equal(dir .. ": no PNG files there", message)
    write(dir .. "/broken.png", "not a picture")
    set, message = data.image_folder(dir)
    assert.is_nil(set)
    assert.truthy(message:find("broken.png", 1, true))
    assert.has_error(function()
      assert(data.image_folder(dir, { keep = false })):batch { 1 }
    end)
  end)
end)
