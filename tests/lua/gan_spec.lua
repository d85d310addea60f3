-- Losses, penalties, read-outs, the average of G and the latent prior, against closed forms.
local fg = require "forger"
local core = require "forger.core"
local average = require "forger.gan.average"
local health = require "forger.gan.health"
local gan, nn, optim = fg.gan, fg.nn, fg.optim

local function softplus(x)
  return math.log(1 + math.exp(x))
end

local function column(t)
  local rows = {}
  for i, v in ipairs(t) do
    rows[i] = { v }
  end
  return fg.tensor(rows)
end

local function mean(t, f)
  local s = 0
  for _, v in ipairs(t) do
    s = s + f(v)
  end
  return s / #t
end

local REAL, FAKE = { 0.5, -1, 2 }, { -0.3, 0.7, 1.5 }

describe("losses", function()
  local real, fake = column(REAL), column(FAKE)
  local d_bce = mean(REAL, function(s) return softplus(-s) end) + mean(FAKE, softplus)
  local mr, mf = mean(REAL, function(s) return s end), mean(FAKE, function(s) return s end)
  local cases = {
    saturating = { d_bce, -mean(FAKE, softplus) },
    non_saturating = { d_bce, mean(FAKE, function(s) return softplus(-s) end) },
    least_squares = { mean(REAL, function(s) return (s - 1) ^ 2 end) + mean(FAKE, function(s) return s * s end),
      mean(FAKE, function(s) return (s - 1) ^ 2 end) },
    wasserstein = { mf - mr, -mf },
    hinge = { mean(REAL, function(s) return math.max(0, 1 - s) end) + mean(FAKE, function(s) return math.max(0, 1 + s) end), -mf },
    relativistic_paired = {
      (softplus(FAKE[1] - REAL[1]) + softplus(FAKE[2] - REAL[2]) + softplus(FAKE[3] - REAL[3])) / 3,
      (softplus(REAL[1] - FAKE[1]) + softplus(REAL[2] - FAKE[2]) + softplus(REAL[3] - FAKE[3])) / 3 },
    relativistic_average = {
      mean(REAL, function(s) return softplus(mf - s) end) + mean(FAKE, function(s) return softplus(s - mr) end),
      mean(REAL, function(s) return softplus(s - mf) end) + mean(FAKE, function(s) return softplus(mr - s) end) },
  }
  for _, name in ipairs(gan.losses.names) do
    it(name .. " has the value of its formula", function()
      local loss = gan.losses.make(name)
      assert.near(cases[name][1], loss.d(real, fake):item(), 1e-5)
      assert.near(cases[name][2], loss.g(fake, real):item(), 1e-5)
    end)
    it(name .. " has its equilibrium where D gives both the same", function()
      local loss = gan.losses.make(name)
      local q = loss.p_equilibrium
      local s = q and math.log(q / (1 - q)) or loss.threshold
      assert.near(loss.d_equilibrium, loss.d(fg.full({ 4, 1 }, s), fg.full({ 4, 1 }, s)):item(), 1e-5)
    end)
  end
  it("smooth the real target only, and only in D's loss", function()
    local p = 0.9
    local loss = gan.losses.non_saturating { real_label = p }
    local expected = mean(REAL, function(s) return p * softplus(-s) + (1 - p) * softplus(s) end) + mean(FAKE, softplus)
    assert.near(expected, loss.d(real, fake):item(), 1e-5)
    assert.near(cases.non_saturating[2], loss.g(fake):item(), 1e-5)
    assert.near(p / 2, loss.p_equilibrium, 1e-12)
    local s = math.log(0.45 / 0.55)
    local at = loss.d(fg.full({ 4, 1 }, s), fg.full({ 4, 1 }, s)):item()
    assert.near(loss.d_equilibrium, at, 1e-5)
    for _, other in ipairs { s - 0.1, s + 0.1 } do -- it is D's minimum
      assert.is_true(loss.d(fg.full({ 4, 1 }, other), fg.full({ 4, 1 }, other)):item() > at)
    end
  end)
  it("without targets refuse real_label", function()
    for _, name in ipairs { "wasserstein", "hinge", "relativistic_paired", "relativistic_average" } do
      assert.has_error(function() gan.losses.make(name, { real_label = 0.9 }) end)
      gan.losses.make(name, { real_label = 1 })
    end
    assert.has_error(function() gan.losses.non_saturating { real_label = 0 } end)
    assert.has_error(function() gan.losses.non_saturating { real_label = 1.1 } end)
  end)
  it("flip labels per sample, at the share asked for", function()
    fg.manual_seed(1)
    local n = 4000
    local big = 20 -- softplus(-20) is 0: the loss counts flipped samples, 20 each
    local loss = gan.losses.non_saturating { label_flip = 0.25 }
    local value = loss.d(fg.full({ n, 1 }, big), fg.full({ n, 1 }, -big)):item()
    assert.near(2 * 0.25 * big, value, 1)
  end)
  it("of the user's own are checked", function()
    local own = gan.losses.make { d = function() end, g = function() end }
    assert.equal("custom", own.name)
    assert.has_error(function() gan.losses.make { d = function() end } end)
    assert.has_error(function() gan.losses.make("non_saturatin") end)
  end)
end)

describe("penalties", function()
  -- D(x) = x w: the gradient with respect to x is w for every sample.
  local D, w
  before_each(function()
    fg.manual_seed(5)
    D = nn.Linear(3, 1, { bias = false })
    w = D:parameters()[1]
    fg.no_grad(function()
      w:copy_(fg.tensor { { 1 }, { 2 }, { -2 } }) -- |w| = 3
    end)
  end)
  local function batch()
    return { D = D, real = fg.randn(4, 3), fake = fg.randn(4, 3) }
  end

  it("r1 and r2 are gamma/2 |w|^2 here, and their gradient gamma w", function()
    for _, name in ipairs { "r1", "r2" } do
      local p = gan.regularizers[name] { gamma = 0.5 }:penalty(batch())
      assert.near(0.25 * 9, p:item(), 1e-4)
      p:backward()
      assert.near(0.5 * 2, w.grad:get(2, 1), 1e-4)
      w.grad = nil
    end
  end)
  it("gradient_penalty is weight (|w| - 1)^2", function()
    local p = gan.regularizers.gradient_penalty { weight = 10 }:penalty(batch())
    assert.near(40, p:item(), 1e-3)
    p:backward()
    assert.near(10 * 2 * (3 - 1) * 2 / 3, w.grad:get(2, 1), 1e-2)
  end)
  it("have a finite gradient where the norm is zero", function()
    fg.no_grad(function() w:fill_(0) end)
    local p = gan.regularizers.gradient_penalty():penalty(batch())
    assert.near(10, p:item(), 1e-4)
    p:backward()
    local g = w.grad:abs():sum():item()
    assert.is_true(g == g and g < math.huge)
  end)
  it("are multiplied by their interval when lazy", function()
    assert.near(16 * 0.25 * 9, gan.regularizers.r1 { gamma = 0.5, every = 16 }:penalty(batch()):item(), 1e-3)
  end)
  it("use logits that are there already", function()
    local x = fg.randn(4, 3)
    x.requires_grad = true
    local b = { D = function() error("called again") end, real = x, real_logits = D(x) }
    assert.near(4.5, gan.regularizers.r1():penalty(b):item(), 1e-4)
  end)
  it("are made by name", function()
    assert.is_nil(gan.regularizers.make("none"))
    assert.equal("r2", gan.regularizers.make("r2", { gamma = 1 }).name)
    assert.has_error(function() gan.regularizers.make("r3") end)
    assert.has_error(function() gan.regularizers.r1 { gama = 1 } end)
    assert.has_error(function() gan.regularizers.r1 { every = 0 } end)
  end)
end)

describe("read-outs", function()
  it("scores are the mean probability and the share above the threshold", function()
    local p, share = gan.readouts.scores(column { 0, 2, -2, 1 }, 0, true)
    assert.near((0.5 + 1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(2)) + 1 / (1 + math.exp(-1))) / 4, p, 1e-6)
    assert.equal(0.5, share)
    assert.near(0.25, (gan.readouts.scores(column { 0, 2, -2, 1 }, 0, false)), 1e-6)
  end)
  it("diversity is 1 for the same spread and 0 for one picture", function()
    local real = fg.tensor { { 0, 0 }, { 3, 4 }, { 0, 8 } } -- distances 5, 8, 5
    local half = real * 0.5 + 7
    assert.near(1, gan.readouts.diversity(real, real + 100), 1e-3)
    assert.near(0.5, gan.readouts.diversity(real, half), 1e-3)
    assert.near(0, gan.readouts.diversity(real, fg.ones(3, 2)), 1e-3)
    local uneven = fg.tensor { { 0, 0 }, { 0, 0 }, { 6, 0 } } -- distances 0, 6, 6
    assert.near(12 / 18, gan.readouts.diversity(real, uneven), 1e-3)
  end)
  it("grad_norm is the norm of all gradients together", function()
    local a, b = fg.zeros(2), fg.zeros(1)
    a.requires_grad, b.requires_grad = true, true
    ((a * fg.tensor { 2, 3 }):sum() + b:sum() * 6):backward()
    assert.near(7, gan.readouts.grad_norm { a, b }, 1e-5)
  end)
  it("find the parameter that is not finite", function()
    local net = nn.Sequential { nn.Linear(2, 2), nn.Linear(2, 1) }
    assert.is_nil(gan.readouts.find_nonfinite(net))
    local p = net[2]:parameters()[1]
    fg.no_grad(function() p:fill_(0 / 0) end)
    local name, what = gan.readouts.find_nonfinite(net)
    assert.equal("2.weight", name)
    assert.equal("value", what)
  end)
end)

describe("the latent prior", function()
  it("draws what it says, from its own stream", function()
    fg.manual_seed(1)
    local u = gan.Latent { dim = 50, dist = "uniform" }:draw(200)
    assert.same({ 200, 50 }, u.shape)
    assert.is_true(u:max():item() < 1 and u:min():item() >= -1 and u:min():item() < -0.99)
    local z = gan.Latent { dim = 50 }:draw(200)
    assert.near(0, z:mean():item(), 0.05)
    assert.near(1, z:square():mean():item(), 0.05)
    local before = core.stream_get("latent")
    gan.Latent { dim = 50 }:draw(200, "sample")
    assert.same(before, core.stream_get("latent"))
  end)
  it("is checked", function()
    assert.has_error(function() gan.Latent { dim = 0 } end)
    assert.has_error(function() gan.Latent { dim = 2, dist = "cauchy" } end)
    assert.has_error(function() gan.Latent { size = 2 } end)
  end)
  it("travels with the generator's file", function()
    local G = nn.Sequential { nn.Linear(4, 3) }
    G.latent = { dim = 4, dist = "uniform", range = { 0, 1 } }
    local path = os.tmpname() .. ".safetensors"
    assert(G:save(path))
    local loaded = assert(nn.load(path))
    os.remove(path)
    assert.same({ 7, 3 }, loaded:sample(7).shape)
    assert.equal("uniform", loaded.latent.dist)
    assert.same({ 0, 1 }, loaded.latent.range)
    assert.has_error(function() nn.Sequential { nn.Linear(4, 3) }:sample(7) end)
  end)
  it("samples in eval mode and restores the mode", function()
    local G = nn.Sequential { nn.Linear(4, 3), nn.BatchNorm(3) }
    G.latent = { dim = 4 }
    G:train()
    local before = G[2]:state_dict().running_mean:totable()
    G:sample(150)
    assert.is_true(G.training)
    assert.same(before, G[2]:state_dict().running_mean:totable())
  end)
end)

describe("the average of G", function()
  it("follows min(decay, (1 + t) / (10 + t))", function()
    local G = nn.Linear(1, 1, { bias = false })
    local w = G:parameters()[1]
    fg.no_grad(function() w:fill_(1) end)
    local ema = gan.EMA(G, { decay = 0.3 })
    local expected = 1
    for t = 0, 5 do
      fg.no_grad(function() w:fill_(t + 2) end)
      ema:update()
      local d = math.min(0.3, (1 + t) / (10 + t))
      expected = d * expected + (1 - d) * (t + 2)
      assert.near(expected, ema.module:parameters()[1]:item(), 1e-5)
    end
  end)
  it("has parameters of its own, which want no gradient", function()
    local G = nn.Linear(2, 2)
    local ema = gan.EMA(G)
    for _, p in ipairs(ema.module:parameters()) do
      assert.is_false(p.requires_grad)
    end
    for _, p in ipairs(G:parameters()) do
      assert.is_true(p.requires_grad)
    end
  end)
  it("measures batch-norm statistics over latents, leaving streams and momentum alone", function()
    fg.manual_seed(2)
    local G = nn.Sequential { nn.Linear(1, 1, { bias = false }), nn.BatchNorm(1), nn.Dropout(0.5) }
    fg.no_grad(function() G[1]:parameters()[1]:fill_(3) end)
    local ema = gan.EMA(G)
    local latent = gan.Latent { dim = 1 }
    local streams = { "latent", "dropout", "eval", "sample" }
    local before = {}
    for i, name in ipairs(streams) do
      before[i] = core.stream_get(name)
    end
    local momentum = ema.norms[1].momentum
    local net = ema:refresh(latent, 64)
    local state = net:state_dict()
    assert.near(0, state["2.running_mean"]:item(), 0.3) -- 3 z has mean 0 and variance 9
    assert.near(9, state["2.running_var"]:item(), 0.9)
    local first = state["2.running_var"]:item()
    ema:refresh(latent, 64)
    assert.equal(first, net:state_dict()["2.running_var"]:item())
    for i, name in ipairs(streams) do
      assert.same(before[i], core.stream_get(name))
    end
    assert.equal(momentum, ema.norms[1].momentum)
    assert.is_false(net.training)
    assert.equal(1, G:state_dict()["2.running_var"]:item()) -- G's own are untouched
  end)
  it("makes samples that follow the trained weights", function()
    local G = nn.Linear(2, 1)
    local ema = gan.EMA(G, { decay = 0 })
    local opt = optim.SGD(G:parameters(), { lr = 0.1 })
    G(fg.ones(4, 2)):sum():backward()
    opt:step()
    ema:update()
    assert.is_true(fg.equal(G:parameters()[1], ema.module:parameters()[1]))
  end)
  it("finds batch norms at any depth", function()
    local net = nn.Sequential { nn.Linear(2, 2), nn.Sequential { nn.BatchNorm(2), nn.ReLU() }, nn.BatchNorm(2) }
    assert.equal(2, #average.batch_norms(net))
  end)
end)

describe("health", function()
  local function feed(record, n)
    local h, said = health.new(gan.losses.non_saturating()), {}
    for i = 1, n do
      said[#said + 1] = h:check(type(record) == "function" and record(i) or record)
    end
    return said
  end
  it("says when D has won, once", function()
    local said = feed(function(i)
      return { acc_real = 1, acc_fake = 1, d_fake = 0.001, g_loss = 4 + i / 100, diversity = 1 }
    end, 1000)
    assert.equal(1, #said)
    assert.truthy(said[1]:find("D has won", 1, true))
  end)
  it("says when G makes one picture", function()
    local said = feed({ acc_real = 0.6, acc_fake = 0.6, d_fake = 0.4, g_loss = 1, diversity = 0.1 }, 1000)
    assert.equal(1, #said)
    assert.truthy(said[1]:find("mode collapse", 1, true))
  end)
  it("is silent on a sound run", function()
    assert.equal(0, #feed({ acc_real = 0.8, acc_fake = 0.8, d_fake = 0.3, g_loss = 1.2, diversity = 0.95 }, 1000))
  end)
end)
