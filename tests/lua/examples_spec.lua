-- Every example as a user runs it: a few steps in a fresh folder, wrong usage, missing data. Needs a shell.
local core = require "forger.core"

local LUA = "lua5.4"

local function folder()
  local path = os.tmpname()
  os.remove(path)
  assert(core.mkdirs(path))
  return path
end

local function exists(path)
  return core.exists(path)
end

-- Runs an example and gives its exit code, stdout and stderr.
local function run(command)
  local err = os.tmpname()
  local pipe = assert(io.popen(LUA .. " examples/" .. command .. " 2>" .. err .. "; echo \"code $?\""))
  local text = pipe:read("a")
  pipe:close()
  local f = assert(io.open(err))
  local err_text = f:read("a")
  f:close()
  os.remove(err)
  local out, code = text:match("^(.*)code (%d+)\n$")
  return tonumber(code), out, err_text
end

-- 640 training and 200 test pictures in MNIST's format: blobs at places that depend on the label.
local function tiny_mnist()
  local dir = folder()
  local function write(name, dims, bytes)
    local head = "\0\0\8" .. string.char(#dims)
    for _, n in ipairs(dims) do
      head = head .. string.pack(">I4", n)
    end
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(head, bytes)
    f:close()
  end
  local function pictures(n, seed)
    local images, labels = {}, {}
    for i = 1, n do
      local label = (i * 7 + seed) % 10
      labels[i] = string.char(label)
      local rows = {}
      for y = 0, 27 do
        for x = 0, 27 do
          local d = (x - 4 - 2 * label) ^ 2 + (y - 8 - i % 9) ^ 2
          rows[#rows + 1] = string.char(math.floor(255 * math.exp(-d / 12)))
        end
      end
      images[i] = table.concat(rows)
    end
    return table.concat(images), table.concat(labels)
  end
  for name, n in next, { train = 640, t10k = 200 } do
    local images, labels = pictures(n, #name)
    write(name .. "-images-idx3-ubyte", { n, 28, 28 }, images)
    write(name .. "-labels-idx1-ubyte", { n }, labels)
  end
  return dir
end

describe("examples", function()
  local digits
  setup(function()
    digits = tiny_mnist()
  end)

  local function succeeds(command, out, files)
    local code, text, err = run(command)
    assert.equal(0, code, err)
    assert.is_nil(err:find("stack traceback", 1, true))
    for _, name in ipairs(files) do
      assert.is_true(exists(out .. "/" .. name), name .. " is missing")
    end
    return text, err
  end

  it("hello_tensor.lua fits its line", function()
    local code, out, err = run("hello_tensor.lua")
    assert.equal(0, code, err)
    assert.truthy(out:find("first derivative 12.0, second 12.0", 1, true) or out:find("first derivative 12, second 12", 1, true), out)
    local slope, shift = out:match("step 200.-slope ([%d.-]+)  shift ([%d.-]+)")
    assert.near(3, tonumber(slope), 0.15)
    assert.near(-1, tonumber(shift), 0.15)
  end)
  it("dcgan_mnist.lua leaves its files, which sample.lua reads", function()
    local out = folder()
    local files = { "reals.png", "fakes000000.png", "fakes000003.png", "stats.jsonl", "options.json", "log.txt", "losses.svg",
      "scores.svg", "generator.safetensors", "discriminator.safetensors" }
    local _, err = succeeds("dcgan_mnist.lua --steps 3 --batch 8 --data " .. digits .. " --out " .. out, out, files)
    assert.truthy(err:find("step 3/3", 1, true))
    succeeds("sample.lua --generator " .. out .. "/generator.safetensors --n 5 --out " .. out .. "/s.png", out, { "s.png" })
  end)
  it("dcgan_mnist.lua knows the book's recipe and other losses and penalties", function()
    local out = folder()
    succeeds("dcgan_mnist.lua --preset book --steps 1 --batch 4 --data " .. digits .. " --out " .. out, out, { "fakes000001.png" })
    succeeds("dcgan_mnist.lua --loss wasserstein --regularizer gradient_penalty --d-steps 2 --steps 1 --batch 4 --data " .. digits
      .. " --out " .. out, out, { "fakes000001.png" })
  end)
  it("dcgan_mnist.lua --evaluate judges samples and keeps the judge beside the data", function()
    local out = folder()
    local text = succeeds("dcgan_mnist.lua --evaluate --steps 1 --batch 8 --data " .. digits .. " --out " .. out, out, {})
    assert.truthy(text:find("of the real test digits, ratio", 1, true))
    assert.truthy(text:find("digit 9: ", 1, true))
    assert.is_true(exists(digits .. "/judge.safetensors"))
  end)
  it("give the same bytes for any number of threads", function()
    local a, b = folder(), folder()
    for out, threads in next, { [a] = 1, [b] = 3 } do
      succeeds("dcgan_mnist.lua --steps 4 --batch 16 --seed 7 --threads " .. threads .. " --data " .. digits .. " --out " .. out, out, {})
    end
    for _, name in ipairs { "stats.jsonl", "generator.safetensors", "discriminator.safetensors" } do
      assert.is_true(core.read_file(a .. "/" .. name) == core.read_file(b .. "/" .. name), name .. " differs")
    end
  end)
  it("gan_mnist_mlp.lua runs", function()
    local out = folder()
    succeeds("gan_mnist_mlp.lua --steps 2 --batch 8 --data " .. digits .. " --out " .. out, out, { "accuracy.svg", "fakes000002.png" })
  end)
  it("gan_in_action.lua runs with both pairs of networks", function()
    for _, more in ipairs { "--net mlp", "--net dcgan --d-updates 2" } do
      local out = folder()
      succeeds("gan_in_action.lua --steps 2 --batch 8 " .. more .. " --data " .. digits .. " --out " .. out, out,
        { "fakes000002.png", "generator.safetensors", "losses.svg" })
      succeeds("sample.lua --generator " .. out .. "/generator.safetensors --n 3 --out " .. out .. "/s.png", out, { "s.png" })
    end
  end)
  it("spiral.lua draws D's surface", function()
    local out = folder()
    succeeds("spiral.lua --steps 4 --sample-every 2 --out " .. out, out, { "spiral.svg", "generator.safetensors" })
  end)
  it("minimax.lua draws both games", function()
    local out = folder()
    succeeds("minimax.lua --steps 3 --out " .. out, out, { "minimax.svg" })
  end)
  it("dcgan_64.lua trains on a folder of pictures", function()
    local fg = require "forger"
    local out, pictures = folder(), folder()
    for i = 1, 4 do
      assert(fg.image.write_png(pictures .. "/" .. i .. ".png", fg.rand(40, 50, 3)))
    end
    succeeds("dcgan_64.lua --width 4 --batch 2 --steps 2 --data " .. pictures .. " --out " .. out, out, { "fakes000002.png" })
    assert.equal(2, (run("dcgan_64.lua")))
  end)
  it("mnist_classifier.lua learns the pictures apart", function()
    local out = folder()
    local text = succeeds("mnist_classifier.lua --epochs 6 --batch 32 --data " .. digits .. " --out " .. out, out,
      { "classifier.safetensors", "losses.svg" })
    assert.is_true(tonumber(text:match("test accuracy ([%d.]+)")) > 0.9, text)
  end)
  for _, name in ipairs { "dcgan_mnist", "gan_mnist_mlp", "gan_in_action", "spiral", "mnist_classifier", "sample", "hello_tensor",
    "minimax", "dcgan_64" } do
    it(name .. ".lua answers --help, and wrong options with one line and code 2", function()
      local code, out = run(name .. ".lua --help")
      assert.equal(0, code)
      assert.truthy(out:find("usage: lua5.4 " .. name .. ".lua", 1, true))
      local err
      code, out, err = run(name .. ".lua --sead 3")
      assert.equal(2, code)
      assert.equal("", out)
      assert.equal(name .. ".lua: unknown option '--sead', did you mean '--seed'? (--help lists the options)\n", err)
    end)
  end
  for _, name in ipairs { "dcgan_mnist", "gan_mnist_mlp", "gan_in_action", "mnist_classifier" } do
    it(name .. ".lua names missing data and unwritable folders in one line", function()
      local code, _, err = run(name .. ".lua --data /nowhere/at/all")
      assert.equal(1, code)
      assert.equal(name .. ".lua: /nowhere/at/all: no such folder\n", err)
      local file = os.tmpname()
      code, _, err = run(name .. ".lua --steps 1 --batch 8 --data " .. digits .. " --out " .. file .. "/run")
      os.remove(file)
      assert.equal(1, code)
      err = err:gsub("step[^\n]*\n", ""):gsub("after[^\n]*\n", "")
      assert.truthy(err:find("^" .. name .. "%.lua: [^\n]*" .. file:gsub("%p", "%%%0") .. "[^\n]*\n$"), err)
    end)
  end
  it("sample.lua names a file that is no generator", function()
    local file = os.tmpname()
    local code, _, err = run("sample.lua --generator " .. file)
    os.remove(file)
    assert.equal(1, code)
    assert.truthy(err:find("^sample.lua: [^\n]*" .. file:gsub("%p", "%%%0") .. "[^\n]*\n$"), err)
    assert.equal(2, (run("sample.lua")))
  end)
  it("leave by 130 on Ctrl-C, with their files", function()
    local out = folder()
    local code = run("dcgan_mnist.lua --steps 100000 --batch 4 --data " .. digits .. " --out " .. out
      .. " 2>/dev/null & pid=$!; while ! [ -s " .. out .. "/log.txt ]; do sleep 0.1; done; sleep 1; kill -INT $pid; wait $pid")
    assert.equal(130, code)
    assert.is_true(exists(out .. "/losses.svg"))
    assert.is_true(exists(out .. "/generator.safetensors"))
  end)
  it("say which Lua they need", function()
    local pipe = io.popen("luac5.1 -v 2>/dev/null")
    local has = pipe:read("a") ~= ""
    pipe:close()
    for _, name in ipairs(assert(core.list_dir("examples"))) do
      if name:match("%.lua$") then
        assert.truthy(core.read_file("examples/" .. name):find("_VERSION", 1, true), name)
        if has then
          assert.is_true(os.execute("luac5.1 -p examples/" .. name), name)
        end
      end
    end
  end)
end)
