-- Forger against PyTorch's stored results (tests/vectors, made by tests/support/make_torch_vectors.py): every op, layer,
-- loss, second-order gradient, optimizer, schedule and initialiser. Bound: max|a-b| / max|b| < 1e-5, in float32.
-- cases.json drives this file; tests/vectors/README.md says what the roles of the stored tensors mean.
local fg = require "forger"
local core = require "forger.core"
local nn, optim, gan = fg.nn, fg.optim, fg.gan

local here = debug.getinfo(1, "S").source:match "^@(.*)[/\\][^/\\]*$" or "."
local vectors = here .. "/../vectors/"

local function read_text(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local doc = assert(fg.json.decode(read_text(vectors .. "cases.json")))
local files = {}
local function stored(case)
  files[case.file] = files[case.file] or assert(fg.load(vectors .. case.file))
  return function(role)
    return files[case.file][case.name .. "." .. role] or error(case.name .. " has no stored " .. role)
  end
end

local BOUND = 1e-5

setup(function()
  -- direct sums: fast convolutions have a bound of their own
  fg.set_precision "f32"
  fg.set_fast_conv(false)
end)
teardown(function() fg.set_fast_conv(true) end)

--- Fails unless both have the same shape and max|a-b| / max|b| < bound. b must not be zero everywhere: that would prove little.
local function close(a, b, what, bound)
  assert.is_truthy(a, what .. " is absent")
  assert.same(b.shape, a.shape, what .. ": shape")
  local error_, top = (a - b):abs():max():item(), b:abs():max():item()
  assert.is_true(top > 0, what .. ": stored values are all zero")
  local relative = error_ / top
  -- written so that NaN fails
  assert.is_true(relative < (bound or BOUND), ("%s: relative error %.3g (largest stored value %.3g)"):format(what, relative, top))
end

--- A leaf of its own with the stored values.
local function leaf(t)
  local x = t:clone()
  if x.dtype == "f32" then x.requires_grad = true end
  return x
end

local function gradients(y, dy, xs)
  return fg.grad(y, xs, { grad_output = dy })
end

local function each(kind, f)
  local n = 0
  for _, case in ipairs(doc.cases) do
    if case.kind == kind then
      n = n + 1
      it(case.name, function() f(case, case.file and stored(case)) end)
    end
  end
  it("has cases of kind " .. kind, function() assert.is_true(n > 0) end)
end

-- Ops whose arguments in Lua are not simply (tensors..., args...).
local special = {
  cat = function(xs, args) return fg.cat(xs, args[1]) end,
  transpose = function(xs, args) return xs[1]:transpose(args) end,
  reshape = function(xs, args) return xs[1]:reshape(args) end,
  mse = function(xs) return (xs[1] - xs[2]):square():mean() end,
  cross_entropy = function(xs) return fg.cross_entropy(xs[1], xs[2]) end,
  bce = function(xs) return fg.bce(xs[1], xs[2]) end,
  bce_logits = function(xs) return fg.bce_logits(xs[1], xs[2]) end,
}

local function apply(name, xs, args)
  if special[name] then return special[name](xs, args) end
  local all = {}
  for i = 2, #xs do all[#all + 1] = xs[i] end
  for i = 1, #args do all[#all + 1] = args[i] end
  return xs[1][name](xs[1], table.unpack(all))
end

local function check_function(case, get, name)
  local xs, wanted, position = {}, {}, {}
  for i, key in ipairs(case.inputs) do
    xs[i] = leaf(get(key))
    position[key] = i
  end
  local y = apply(name, xs, case.args or {})
  close(y, get "output", "output")
  for i, key in ipairs(case.grads) do wanted[i] = xs[position[key]] end
  local g = gradients(y, get "dy", wanted)
  for i, key in ipairs(case.grads) do close(g[i], get("grad." .. key), "gradient of " .. key) end
end

describe("PyTorch: op", function()
  each("op", function(case, get) check_function(case, get, case.op) end)
end)

describe("PyTorch: loss", function()
  each("loss", function(case, get) check_function(case, get, case.loss) end)
end)

describe("PyTorch: GAN loss", function()
  each("gan_loss", function(case, get)
    local loss = assert(gan.losses[case.loss], "gan.losses has no " .. case.loss)()
    local real, fake = leaf(get "real"), leaf(get "fake")
    local d = loss.d(real, fake)
    close(d, get "d", "d")
    local g = fg.grad(d, { real, fake })
    close(g[1], get "d.grad.real", "d's gradient on real")
    close(g[2], get "d.grad.fake", "d's gradient on fake")
    real, fake = leaf(get "real"), leaf(get "fake")
    local y = loss.g(fake, real)
    close(y, get "g", "g")
    close(fg.grad(y, { fake })[1], get "g.grad.fake", "g's gradient on fake")
  end)
end)

-- ------------------------------------------------------------------ layers
local function build(spec)
  local args = {}
  for i, v in ipairs(spec.args) do args[i] = v end
  if next(spec.opts) then args[#args + 1] = spec.opts end
  return nn[spec.class](table.unpack(args))
end

local function named(module)
  local t = {}
  for name, p in module:named_parameters() do t[name] = p end
  return t
end

describe("PyTorch: layer", function()
  each("layer", function(case, get)
    local m = build(case)
    local state = {}
    for _, key in ipairs(case.params) do state[key] = get(key) end
    for _, key in ipairs(case.buffers) do state[key] = get(key) end
    m:load_state_dict(state)
    if case.train then m:train() else m:eval() end
    local x = leaf(get "input")
    local y = m(x)
    close(y, get "output", "output")
    local params, wanted = named(m), {}
    for i, key in ipairs(case.grads) do wanted[i] = key == "input" and x or assert(params[key], "no parameter " .. key) end
    local g = gradients(y, get "dy", wanted)
    for i, key in ipairs(case.grads) do close(g[i], get("grad." .. key), "gradient of " .. key) end
    local after = m:state_dict()
    for _, key in ipairs(case.buffers) do
      if case.train then
        close(after[key], get("after." .. key), key .. " after the batch")
      else
        assert.is_true(fg.equal(after[key], get(key)), key .. " must not move in eval mode")
      end
    end
  end)
end)

-- ------------------------------------------------------------------ second order
local function network(list)
  local layers = {}
  for i, spec in ipairs(list) do layers[i] = build(spec) end
  return nn.Sequential(layers)
end

describe("PyTorch: gradient of a gradient penalty", function()
  each("second", function(case, get)
    local m = network(case.net)
    local state = {}
    for _, key in ipairs(case.tensors) do state[key] = get(key) end
    m:load_state_dict(state)
    if case.train then m:train() else m:eval() end
    local x = leaf(get "input")
    local y = (m(x) * get "v"):sum()
    local gx = fg.grad(y, { x }, { create_graph = true })[1]
    close(gx, get "gx", "gradient of the input")
    local sq = gx:square():reshape(gx:size(1), -1):sum(2)
    local penalty = case.penalty == "r1" and sq:mean() * 5 or ((sq + 1e-12):sqrt() - 1):square():mean() * 10
    close(penalty, get "output", "penalty")
    local total = case.add_output and penalty + y or penalty
    local params, wanted = named(m), {}
    local keys = {}
    for _, key in ipairs(case.grads) do keys[#keys + 1] = key end
    for _, key in ipairs(case.zero) do keys[#keys + 1] = key end
    for i, key in ipairs(keys) do wanted[i] = key == "input" and x or assert(params[key], "no parameter " .. key) end
    local g = fg.grad(total, wanted)
    for i, key in ipairs(keys) do
      if i <= #case.grads then
        close(g[i], get("grad." .. key), "gradient of " .. key)
      elseif g[i] then
        assert.is_true(g[i]:abs():max():item() < 1e-6, "gradient of " .. key .. " must be zero")
      end
    end
  end)
end)

-- ------------------------------------------------------------------ optimizers
--- Gives p the gradient g: the derivative of sum(p g).
local function set_gradient(p, g)
  (p * g):sum():backward()
end

describe("PyTorch: optimizer", function()
  each("optim", function(case, get)
    local params = {}
    for i, key in ipairs(case.params) do params[i] = leaf(get(key)) end
    local opt = optim[case.class](params, case.opts)
    for t = 1, case.steps do
      opt:zero_grad()
      for i, key in ipairs(case.params) do set_gradient(params[i], get("grad." .. key)[t]) end
      opt:step()
      for i, key in ipairs(case.params) do
        close(params[i]:detach(), get("after." .. key)[t], ("%s after step %d"):format(key, t))
        -- the change as well: a small step on a large parameter could hide inside the bound above (looser by what f32 itself
        -- rounds away: 1.2e-7 of a parameter near 2 is 2.8e-4 of the smallest case's change of 8.5e-4)
        if t == case.steps then
          local start = get(key)
          close(params[i]:detach() - start, get("after." .. key)[t] - start, key .. "'s whole change", 3e-4)
        end
      end
    end
  end)
end)

describe("PyTorch: learning rate", function()
  each("schedule", function(case)
    for i, rate in ipairs(case.rates) do
      local t, lr = i - 1
      if case.schedule == "linear" then
        lr = core.lr_linear(case.lr, t, case.start, case.steps, case.final)
      else
        lr = core.lr_cosine(case.lr, t, case.steps, case.final)
      end
      assert.is_true(math.abs(lr - rate) <= 1e-9 * case.lr, ("update %d: %.12g, PyTorch has %.12g"):format(t, lr, rate))
    end
  end)
end)

describe("PyTorch: clip_grad_norm", function()
  each("clip", function(case, get)
    local params = {}
    for i, key in ipairs(case.params) do
      params[i] = leaf(get("grad." .. key))
      set_gradient(params[i], get("grad." .. key))
    end
    local norm = optim.clip_grad_norm(params, case.max_norm)
    assert.is_true(math.abs(norm - case.norm) < BOUND * case.norm, ("norm %.9g, PyTorch has %.9g"):format(norm, case.norm))
    for i, key in ipairs(case.params) do close(params[i].grad, get("after." .. key), key) end
  end)
end)

describe("EMA", function()
  each("ema", function(case, get)
    local p = get("p"):clone()
    local ema = core.ema({ p }, case.decay, true)
    for t = 1, case.steps do
      p:copy_(get("values")[t])
      core.ema_step(ema)
      close(core.ema_shadows(ema)[1], get("after.p")[t], "average after update " .. t)
    end
  end)
end)

-- ------------------------------------------------------------------ initialisers
--- Numbers of x against the distribution d, generously: five standard errors.
local function check_distribution(x, d, what)
  local n = x:numel()
  local mean = x:mean():item()
  local std = math.sqrt(math.max((x - mean):square():mean():item(), 0))
  if d.dist == "constant" then
    assert.is_true(x:max():item() == d.value and x:min():item() == d.value, what .. " must be " .. d.value)
  elseif d.dist == "uniform" then
    local top = x:abs():max():item()
    assert.is_true(top <= d.bound * (1 + 1e-6), ("%s: %g beyond %g"):format(what, top, d.bound))
    -- P(all n below 1 - 20/n of the bound) = e^-20
    assert.is_true(top >= d.bound * (1 - math.min(20 / n, 0.9)), ("%s: never above %g of %g"):format(what, top, d.bound))
    assert.is_true(math.abs(mean) < 5 * d.bound / math.sqrt(3 * n), what .. ": mean " .. mean)
  else
    local m = d.mean or 0
    assert.is_true(math.abs(mean - m) < 5 * d.std / math.sqrt(n), what .. ": mean " .. mean)
    assert.is_true(math.abs(std / d.std - 1) < 5 / math.sqrt(2 * n), what .. ": deviation " .. std)
  end
end

describe("Initialiser", function()
  each("init", function(case)
    for _, how in ipairs { "default", "keras", "dcgan" } do
      local dist = case[how]
      if dist then
        fg.manual_seed(11)
        local m = build(case)
        if how ~= "default" then nn.init[how](m) end
        local params, checked = named(m), 0
        for _, key in ipairs { "weight", "bias" } do
          if dist[key] then
            check_distribution(params[key]:detach(), dist[key], how .. " " .. key)
            checked = checked + 1
          end
        end
        assert.is_true(checked > 0)
      end
    end
  end)
end)
