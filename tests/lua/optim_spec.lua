-- Optimizers, schedules, clipping and averages from Lua; the arithmetic against steps written out in Lua.
local fg = require "forger"
local optim = fg.optim

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), "message: " .. tostring(message))
end

local function near(want, got, tolerance)
  assert.is_true(math.abs(want - got) <= (tolerance or 1e-6), string.format("expected %.9g, got %.9g", want, got))
end

local function leaf(v) return fg.tensor({ v }, { requires_grad = true }) end

--- Runs n steps on loss w^2 / 2 (gradient w) and returns w after each.
local function run(opt, w, n)
  local out = {}
  for i = 1, n do
    opt:zero_grad()
    ;(w:square() * 0.5):sum():backward()
    opt:step()
    out[i] = w:item()
  end
  return out
end

describe("optimizers", function()
  it("SGD with momentum and lr_decay", function()
    local w, ref, v = leaf(1), 1, 0
    local got = run(optim.SGD({ w }, { lr = 0.1, momentum = 0.9, lr_decay = 0.5 }), w, 4)
    for t = 0, 3 do
      v = t == 0 and ref or 0.9 * v + ref
      ref = ref - 0.1 / (1 + 0.5 * t) * v
      near(ref, got[t + 1])
    end
  end)

  it("RMSprop with eps outside and inside the root", function()
    for _, inside in ipairs { false, true } do
      local w, ref, s = leaf(1), 1, 0
      local got = run(optim.RMSprop({ w }, { lr = 0.01, alpha = 0.9, eps = 1e-2, eps_inside = inside }), w, 3)
      for t = 1, 3 do
        s = 0.9 * s + 0.1 * ref * ref
        ref = ref - 0.01 * ref / (inside and math.sqrt(s + 1e-2) or math.sqrt(s) + 1e-2)
        near(ref, got[t])
      end
    end
  end)

  it("Adam and AdamW", function()
    for _, kind in ipairs { "Adam", "AdamW" } do
      local w, ref, m, v = leaf(1), 1, 0, 0
      local got = run(optim[kind]({ w }, { lr = 0.1, betas = { 0.5, 0.9 }, eps = 1e-8, weight_decay = 0.1 }), w, 3)
      for t = 1, 3 do
        local g = ref + (kind == "Adam" and 0.1 * ref or 0)
        if kind == "AdamW" then
          ref = ref * (1 - 0.1 * 0.1)
        end
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g * g
        ref = ref - 0.1 * (m / (1 - 0.5 ^ t)) / (math.sqrt(v / (1 - 0.9 ^ t)) + 1e-8)
        near(ref, got[t], 2e-6)
      end
    end
  end)

  it("take a network, skip parameters without gradient, and forget gradients", function()
    local net = fg.nn.Sequential { fg.nn.Linear(2, 2), fg.nn.Linear(2, 2) }
    local opt = optim.Adam(net)
    local before = net[2].weight:clone()
    net[1](fg.ones(1, 2)):sum():backward()
    opt:step()
    assert.is_true(fg.equal(before, net[2].weight))
    assert.is_not_nil(net[1].weight.grad)
    opt:zero_grad()
    assert.equal(0.0, net[1].weight.grad and net[1].weight.grad:abs():sum():item() or 0.0)
  end)

  it("have a rate that may change and other fields that may not", function()
    local opt = optim.SGD({ leaf(1) }, { lr = 0.5 })
    assert.equal(0.5, opt.lr)
    opt.lr = 0.25
    assert.equal(0.25, opt:get_lr())
    opt:set_lr(1)
    assert.equal(1.0, opt.lr)
    assert.equal(0, opt.steps)
    raises("read only", function() opt.steps = 3 end)
    assert.is_truthy(tostring(opt):find("SGD%(lr 1, 1 parameters, 0 steps%)"))
  end)

  it("refuse wrong options", function()
    raises("Adam: unknown option 'beta', did you mean 'betas'", optim.Adam, { leaf(1) }, { beta = 1 })
    raises("'betas' is a pair", optim.Adam, { leaf(1) }, { betas = { 0.5 } })
    raises("'lr' is a number, got string", optim.SGD, { leaf(1) }, { lr = "1" })
    raises("the list of parameters is empty", optim.SGD, {})
    raises("element 1 of the list is the number 3", optim.SGD, { 3 })
    raises("a list of parameters expected", optim.SGD, 3)
  end)

  it("resume from their state", function()
    local function fresh()
      local w = leaf(1)
      return w, optim.Adam({ w }, { lr = 0.1 })
    end
    local w, opt = fresh()
    run(opt, w, 3)
    local state = opt:state_dict()
    local w2, opt2 = fresh()
    fg.no_grad(function() w2:copy_(w) end)
    opt2:load_state_dict { kind = "Adam", lr = state.lr, steps = state.steps, state = state.state }
    assert.same(run(opt, w, 3), run(opt2, w2, 3))
    raises("the state is of Adam, this optimizer is SGD", function() optim.SGD({ leaf(1) }):load_state_dict(state) end)
    raises("is missing", function() opt:load_state_dict { kind = "Adam", lr = 1, steps = 0, state = {} } end)
  end)
end)

describe("gradient norms", function()
  it("are measured and limited", function()
    local a, b, c = leaf(3), leaf(4), leaf(9)
    ;(a * a * 0.5 + b * b * 0.5):sum():backward()
    near(5, optim.grad_norm { a, b, c })
    near(5, optim.clip_grad_norm({ a, b, c }, 1))
    near(0.6, a.grad:item())
    near(1, optim.grad_norm { a, b, c })
    near(1, optim.clip_grad_norm({ a, b }, 10))
    near(0.6, a.grad:item())
    raises("a norm above 0 expected", optim.clip_grad_norm, { a }, 0)
  end)

  it("that are not finite scale nothing and name the parameter", function()
    local a, b = leaf(3), leaf(4)
    ;(a * 2 + b * math.huge):sum():backward()
    local norm, message = optim.clip_grad_norm({ a, b }, 1)
    assert.is_true(norm ~= norm or norm == math.huge)
    assert.is_truthy(message:find("2"))
    assert.equal(2.0, a.grad:item())
  end)
end)

describe("averages", function()
  it("follow the parameters with and without warm-up", function()
    for _, warmup in ipairs { true, false } do
      local w, ref = leaf(1), 1
      local ema = optim.EMA({ w }, { decay = 0.9, warmup = warmup })
      for t = 0, 4 do
        fg.no_grad(function() w:fill_(t * t) end)
        ema:update()
        local d = warmup and math.min(0.9, (1 + t) / (10 + t)) or 0.9
        ref = d * ref + (1 - d) * t * t
        near(ref, ema:shadows()[1]:item(), 1e-5)
      end
      assert.equal(5, ema:updates())
      local copy = leaf(0)
      ema:copy_to { copy }
      near(ref, copy:item(), 1e-5)
      local other = optim.EMA({ leaf(0) }, { decay = 0.9 })
      other:load_state_dict(ema:state_dict())
      near(ref, other:shadows()[1]:item(), 1e-5)
      assert.equal(5, other:updates())
    end
  end)

  it("move lists towards lists in one call", function()
    local a, b = leaf(1), leaf(3)
    optim.ema_update({ a }, { b }, 0.75)
    near(1.5, a:item())
    assert.is_true(fg.grad_enabled())
    raises("target 1 is f32 %[1%], source 1 is f32 %[2%]", optim.ema_update, { a }, { fg.ones(2) }, 0.5)
    raises("1 targets, 2 sources", optim.ema_update, { a }, { b, b }, 0.5)
  end)
end)

describe("schedules", function()
  it("fall in a line after a start, and along a cosine", function()
    local opt = optim.SGD({ leaf(1) }, { lr = 2 })
    local line = optim.LinearDecay(opt, { total = 10, start = 6, final = 0.5 })
    local rates = {}
    for i = 1, 12 do
      rates[i] = line:step()
    end
    near(2, rates[6])
    near(1.5, rates[8])
    near(1, rates[10])
    near(1, rates[12])
    near(1, opt.lr)
    opt.lr = 2
    local cosine = optim.Cosine(opt, { total = 4 })
    for i = 1, 4 do
      near(1 + math.cos(math.pi * i / 4), cosine:step(), 1e-9)
    end
    local again = optim.Cosine(optim.SGD({ leaf(1) }, { lr = 2 }), { total = 4 })
    again:step()
    local state = again:state_dict()
    local later = optim.Cosine(optim.SGD({ leaf(1) }, { lr = 7 }), { total = 4 })
    later:load_state_dict(state)
    near(again:step(), later:step())
    raises("'total' is a number of steps, got nil", optim.Cosine, opt, {})
    raises("unknown option 'finl', did you mean 'final'", optim.Cosine, opt, { total = 1, finl = 2 })
    raises("an optimizer expected", optim.Cosine, {}, { total = 1 })
  end)
end)
