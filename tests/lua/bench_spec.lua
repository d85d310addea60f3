-- The benchmarks' scripts: what they print, and the table that `make bench-peers` makes of it. No speed is judged here.
local fg = require "forger"
local figures = dofile "tests/bench/peers_table.lua"
local lua = os.getenv("LUA") or "lua5.4"

-- Exit code, stdout and stderr of a command.
local function run(command)
  local err = os.tmpname()
  local pipe = assert(io.popen(command .. " 2>" .. err))
  local out = pipe:read("a")
  local _, _, code = pipe:close()
  local f = assert(io.open(err))
  local err_text = f:read("a")
  f:close()
  os.remove(err)
  return code, out, err_text
end

local function decoded(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = assert(fg.json.decode(line))
  end
  return list
end

describe("step.lua", function()
  for _, mode in ipairs { "f32", "bf16" } do
    it("prints one JSON line under " .. mode, function()
      local code, out, err = run(lua .. " tests/bench/step.lua --work tiny --seconds 0.1 --mode " .. mode)
      assert.equal(0, code, err)
      local lines = decoded(out)
      assert.equal(1, #lines, out)
      local r = lines[1]
      assert.same({ "forger", fg.VERSION, mode, "tiny", 2, 64, fg.isa() }, { r.fw, r.version, r.mode, r.work, r.threads, r.batch, r.isa })
      assert.is_true(r.min_ms > 0 and r.min_ms <= r.ms and r.steps >= 5 and r.rss_mb > 0, out)
    end)
  end
  it("refuses works that it does not know", function()
    local code, out, err = run(lua .. " tests/bench/step.lua --work tinny")
    assert.same({ 2, "" }, { code, out })
    assert.truthy(err:find("--work must be one of demo book", 1, true), err)
  end)
end)

describe("peers.py", function()
  local has = run("python3 --version") == 0
  local test = has and it or pending
  test("explains itself without the frameworks", function()
    local code, out, err = run("env -u LD_PRELOAD python3 -S tests/bench/peers.py --help")
    assert.equal(0, code, err)
    for _, work in ipairs { "demo", "book", "dcgan64", "wgangp", "mlp", "toy", "tiny", "sample1", "sample64" } do
      assert.truthy(out:find("\n  " .. work .. " +%S"), work .. " is missing")
    end
  end)
  test("refuses works and modes that do not exist", function()
    for _, line in ipairs { "--fw torch --work tinny", "--fw jax --work book --mode xla", "--fw jax --work demo" } do
      local code, _, err = run("env -u LD_PRELOAD python3 -S tests/bench/peers.py " .. line)
      assert.equal(2, code, line .. ": " .. err)
    end
  end)
end)

describe("compare.lua", function()
  it("refuses wrong variables before it installs anything", function()
    local wrong = { "WORKS=tinny", "PEERS=torch:xla", "ROUNDS=0", "SECONDS=x", "PRECISIONS=f16", "WORK=tiny", "SKIP=jax", "SKIP=jax@tinny" }
    for _, line in ipairs(wrong) do
      local code, _, err = run(lua .. " tests/bench/compare.lua BUILD=/nowhere/at/all " .. line)
      assert.equal(2, code, line)
      assert.truthy(err:find("^compare%.lua: "), err)
    end
  end)
  it("runs both sides, leaves out modes that fail and says why", function()
    local peer = os.tmpname() -- stands in for a Python that has PyTorch
    local f = assert(io.open(peer, "w"))
    f:write([[#!/bin/sh
case "$*" in
*compile*) echo "RuntimeError: cannot compile" >&2; exit 1 ;;
*) echo '{"fw":"torch","version":"2","mode":"eager","work":"tiny","ms":0.000001,"rss_mb":1}' ;;
esac
]])
    f:close()
    os.execute("chmod +x " .. peer)
    local code, out, err = run(lua .. " tests/bench/compare.lua WORKS=tiny PRECISIONS=f32 PEERS=torch ROUNDS=2 SECONDS=0.1 PEERS_TORCH=" .. peer)
    os.remove(peer)
    assert.equal(0, code, err)
    assert.truthy(err:find("PyTorch compiled: left out: RuntimeError: cannot compile", 1, true), err)
    assert.is_nil(err:find("NCHW", 1, true), err)
    assert.truthy(out:find("| tiny | f32 ", 1, true) and out:find("| PyTorch eager | 0.00 **slower** |", 1, true), out)
    local _, forgers = err:gsub("  Forger\n", "")
    assert.equal(2, forgers, err)
  end)
end)

describe("the table", function()
  local canned = [[
{"fw":"forger","mode":"f32","work":"book","ms":100}
{"fw":"forger","mode":"f32","work":"book","ms":300}
{"fw":"forger","mode":"f32","work":"book","ms":120}
{"fw":"torch","mode":"eager","work":"book","ms":240.4}
{"fw":"torch","mode":"eager-nchw","work":"book","ms":230}
{"fw":"keras","mode":"bf16","work":"book","ms":180}
{"fw":"forger","mode":"f32","work":"tiny","ms":0.5}
{"fw":"jax","mode":"eager","work":"tiny","ms":0.4}
{"fw":"forger","mode":"bf16","work":"tiny","ms":1.25}
]]
  local rows = figures.rows(decoded(canned), { "book", "tiny" }, { "f32", "bf16" })

  it("takes medians and the best peer, tells losses, leaves empty what is missing", function()
    assert.equal([[
| work | precision | Forger ms | best peer ms | best peer           | ratio           | ratio, any precision |
| ---- | --------- | --------: | -----------: | ------------------- | --------------- | -------------------- |
| book | f32       |       120 |          230 | PyTorch eager, NCHW | 1.92            | 1.50                 |
| book | bf16      |           |          180 | Keras tf.function   |                 |                      |
| tiny | f32       |     0.500 |        0.400 | JAX jit             | 0.80 **slower** | 0.80 **slower**      |
| tiny | bf16      |     1.250 |              |                     |                 | 0.32 **slower**      |
]], figures.format(rows))
    assert.equal("Forger is faster than the best peer of the same precision in 1 of 4 rows, slower in 1, and 2 could not be compared.",
      figures.verdict(rows))
  end)
  it("does not round a narrow loss away", function()
    local narrow = { { work = "toy", precision = "f32", forger = 10, peer = 9.98, name = "JAX jit", ratio = 0.998 } }
    assert.truthy(figures.format(narrow):find("| 0.998 **slower** |", 1, true))
  end)
  it("names every mode", function()
    for name, m in next, {
      ["PyTorch eager, channels-last"] = { "torch", "eager", "book" }, ["PyTorch eager, NCHW"] = { "torch", "bf16-nchw", "demo" },
      ["PyTorch eager"] = { "torch", "bf16", "toy" }, ["PyTorch compiled"] = { "torch", "compile-bf16", "book" },
      ["Keras XLA"] = { "keras", "xla-bf16", "tiny" }, ["JAX jit"] = { "jax", "bf16", "mlp" },
    } do
      assert.equal(name, figures.name(m[1], m[2], m[3]))
    end
  end)
  it("finds the reason in what a failed run wrote", function()
    assert.equal("ValueError: no", figures.reason("Traceback\n  File x\nValueError: no\nW1122 a warning\n"))
    assert.equal("Killed", figures.reason("some words\nKilled\n"))
    assert.is_nil(figures.reason("\n"))
  end)
  it("replaces the figures of a page and nothing else", function()
    assert.equal("# A\n\n" .. figures.MARK .. "\n\nnew\n", figures.replace("# A\n\n" .. figures.MARK .. "\n\nold\n", "new\n"))
    assert.is_nil((figures.replace("# A\n", "new\n")))
    local f = assert(io.open("docs/benchmarks.md"))
    local page = f:read("a")
    f:close()
    assert.is_string(figures.replace(page, "new\n"))
  end)
end)
