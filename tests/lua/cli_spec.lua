-- Options of the examples: parsing, help, messages and exit codes. Pure Lua.
local cli = require "forger.cli"
local words = require "forger.words"

local function spec()
  return {
    name = "toy.lua",
    about = "Trains a toy.",
    options = cli.common({ steps = 500, batch = 64, loss = { "non_saturating", "hinge" }, data = false }, {
      { "evaluate", help = "judge the samples" },
      { "preset", choices = { "default", "book" }, default = "default", help = "the recipe" },
      { "scale", type = "number", min = -2, help = "a number" },
    }),
  }
end

local function run(args, body)
  local out, err = {}, {}
  local code = cli.main(body or function() end, spec(), args, {
    out = function(t) out[#out + 1] = t end,
    err = function(t) err[#err + 1] = t end,
  })
  return code, table.concat(out), table.concat(err)
end

describe("words", function()
  it("sorts keys, numbers before strings", function()
    assert.same({ 1, 2, "a", "b" }, words.sorted_keys({ b = 1, a = 2, 5, 6 }))
  end)
  it("suggests the nearest name and no far one", function()
    assert.equal("stride", words.nearest("strides", { "padding", "stride" }))
    assert.equal("real", words.nearest("raeL", { "fake", "real" }))
    assert.is_nil(words.nearest("zzzzzz", { "padding", "stride" }))
  end)
  it("rejects unknown option keys and names the right one", function()
    assert.has_error(function()
      words.check_options("f", { strides = 2 }, { "stride" })
    end, "f: unknown option 'strides', did you mean 'stride'?")
  end)
  it("writes numbers with a point", function()
    assert.equal("1.50", words.number("%.2f", 1.5))
    assert.equal("0.00", words.number("%.2f", -0.0001))
    assert.equal("nan", words.number("%.2f", 0 / 0))
  end)
  it("writes durations", function()
    assert.equal("0:07", words.duration(7))
    assert.equal("1:29", words.duration(89))
    assert.equal("1:02:03", words.duration(3723))
    assert.equal("?", words.duration(math.huge))
  end)
end)

describe("cli.parse", function()
  it("fills in defaults and leaves the rest nil", function()
    local opt = assert(cli.parse(spec().options, {}))
    assert.equal(500, opt.steps)
    assert.equal(1, opt.seed)
    assert.equal("non_saturating", opt.loss)
    assert.is_false(opt.evaluate)
    assert.is_nil(opt.lr)
    assert.is_nil(opt.given.steps)
  end)
  it("reads values, flags and --name=value", function()
    local opt = assert(cli.parse(spec().options,
      { "--steps", "12", "--evaluate", "--lr=2e-4", "--d-steps", "3", "--out", "a b", "--scale", "-1.5" }))
    assert.equal(12, opt.steps)
    assert.is_true(opt.evaluate)
    assert.equal(2e-4, opt.lr)
    assert.equal(3, opt.d_steps)
    assert.equal("a b", opt.out)
    assert.equal(-1.5, opt.scale)
    assert.is_true(opt.given.d_steps)
  end)
  local bad = {
    { { "--step", "5" }, "unknown option '--step', did you mean '--steps'?" },
    { { "--frobnicate" }, "unknown option '--frobnicate'" },
    { { "--steps" }, "--steps needs a value (N)" },
    { { "--steps", "--batch" }, "--steps needs a value (N)" },
    { { "--steps", "abc" }, "--steps needs a whole number, got 'abc'" },
    { { "--steps", "1.5" }, "--steps needs a whole number, got '1.5'" },
    { { "--lr", "nan" }, "--lr needs a number, got 'nan'" },
    { { "--lr", "0" }, "--lr must be greater than 0, got 0" },
    { { "--threads", "0" }, "--threads must be at least 1, got 0" },
    { { "--precision", "f16" }, "--precision must be one of f32, bf16, auto; got 'f16', did you mean 'bf16'?" },
    { { "--real-label", "1.5" }, "--real-label must be at most 1, got 1.5" },
    { { "--preset", "boook" }, "--preset must be one of default, book; got 'boook', did you mean 'book'?" },
    { { "--evaluate=1" }, "--evaluate takes no value" },
    { { "stray" }, "unexpected argument 'stray'" },
    { { "--data", "x" }, "unknown option '--data'" },
  }
  for _, case in ipairs(bad) do
    it("rejects " .. table.concat(case[1], " "), function()
      local opt, message = cli.parse(spec().options, case[1])
      assert.is_nil(opt)
      assert.equal(case[2], message)
    end)
  end
  it("applies threads, precision and seed", function()
    local fg = require "forger"
    local threads, precision = fg.get_threads(), fg.get_precision()
    finally(function()
      fg.set_threads(threads)
      fg.set_precision(precision)
    end)
    cli.set_up(assert(cli.parse(cli.common {}, { "--threads", "3", "--precision", "bf16", "--seed", "5" })))
    assert.equal(3, fg.get_threads())
    assert.equal("bf16", fg.get_precision())
    local first = fg.rand(4):totable()
    cli.set_up(assert(cli.parse(cli.common {}, { "--seed", "5" })))
    assert.same(first, fg.rand(4):totable())
    assert.equal("bf16", fg.get_precision()) -- stays as it is unless asked for
    cli.set_up(assert(cli.parse(cli.common {}, { "--precision", "f32", "--seed", "6" })))
    assert.equal("f32", fg.get_precision())
    assert.not_same(first, fg.rand(4):totable())
  end)
  it("refuses a default for an option that does not exist", function()
    assert.has_error(function() cli.common({ stepz = 1 }) end)
  end)
end)

describe("cli.main", function()
  it("prints help and returns 0 without running the body", function()
    local code, out = run({ "--help" }, function() error("ran") end)
    assert.equal(0, code)
    assert.truthy(out:find("usage: lua5.4 toy.lua", 1, true))
    assert.truthy(out:find("--steps N", 1, true))
    assert.truthy(out:find("(default: 500)", 1, true))
    assert.truthy(out:find("default, book", 1, true))
    for line in out:gmatch("[^\n]+") do
      assert.is_true(#line <= 100, line)
    end
  end)
  it("returns 2 with one line on wrong usage", function()
    local code, _, err = run({ "--step", "1" })
    assert.equal(2, code)
    assert.equal("toy.lua: unknown option '--step', did you mean '--steps'? (--help lists the options)\n", err)
    code, _, err = run({}, function() cli.usage_error("--a and --b exclude each other") end)
    assert.equal(2, code)
    assert.truthy(err:find("^toy.lua: %-%-a and %-%-b"))
  end)
  it("returns 1 with one line and no place on failure", function()
    local code, _, err = run({}, function() error("cannot read x") end)
    assert.equal(1, code)
    assert.equal("toy.lua: cannot read x\n", err)
    code, _, err = run({}, function() error("net.json:3: a comma is missing", 0) end)
    assert.equal(1, code)
    assert.equal("toy.lua: net.json:3: a comma is missing\n", err)
    code, _, err = run({}, function() error("two\n lines", 0) end)
    assert.equal(1, code)
    assert.equal("toy.lua: two lines\n", err)
  end)
  it("returns 130 when interrupted", function()
    assert.equal(130, (run({}, function() return { interrupted = true } end)))
    assert.equal(130, (run({}, function() error("interrupted!", 0) end)))
  end)
  it("returns what the body returns", function()
    assert.equal(0, (run({}, function() end)))
    assert.equal(3, (run({}, function() return 3 end)))
  end)
end)

describe("cli.rates", function()
  it("sets D's rate by --lr and keeps the ratio", function()
    local d, g = cli.rates({ lr = 4e-4 }, 2e-4, 1e-4)
    assert.equal(4e-4, d)
    assert.equal(2e-4, g)
    d, g = cli.rates({ lr = 4e-4, g_lr = 1 }, 2e-4, 1e-4)
    assert.equal(4e-4, d)
    assert.equal(1, g)
    d, g = cli.rates({}, 2e-4, 1e-4)
    assert.equal(2e-4, d)
    assert.equal(1e-4, g)
  end)
end)
