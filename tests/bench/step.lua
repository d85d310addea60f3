-- Times whole training steps on random images and prints one JSON line, in the manner of the peers' script:
--
--   lua5.4 tests/bench/step.lua --work book [--mode f32|bf16|auto] [--threads N] [--batch N] [--seconds S]
--   lua5.4 tests/bench/step.lua --work book --save FILE [--steps N] ...     (no timing: the parameters after N steps, 2)
--
-- Works: demo (default preset of dcgan_mnist.lua: R1 on every D step, Adam, EMA of G), book (the Keras book's DCGAN,
-- RMSprop, real and fake in one D batch), dcgan64 (the DCGAN paper's 64x64x3 networks), wgangp (book networks, gradient
-- penalty), mlp (MLP GAN with dropout), toy and tiny (2-D MLP GANs), sample1 and sample64 (book G alone, no gradient).
-- A step is one update of D and one of G. ms is the median, min_ms the fastest, rss_mb the peak resident memory.
local fg = require "forger"
local core = require "forger.core"
local nn, optim = fg.nn, fg.optim

local BATCH = { demo = 64, book = 64, dcgan64 = 64, mlp = 128, toy = 256, tiny = 64, wgangp = 64, sample1 = 1, sample64 = 64 }

local opt = { mode = "f32", threads = 2, seconds = 10 }
do
  local i = 1
  while arg[i] do
    local key = arg[i]:match "^%-%-(%a+)$"
    local value = arg[i + 1]
    if key == nil or value == nil then
      io.stderr:write("usage: step.lua --work NAME [--mode f32|bf16|auto] [--threads N] [--batch N] [--seconds S] [--save FILE [--steps N]]\n")
      os.exit(2)
    end
    opt[key] = tonumber(value) or value
    i = i + 2
  end
  if not BATCH[opt.work] then
    io.stderr:write("step.lua: --work must be one of demo book dcgan64 wgangp mlp toy tiny sample1 sample64\n")
    os.exit(2)
  end
end
fg.set_threads(opt.threads)
fg.set_precision(opt.mode)
fg.manual_seed(1)
local work, B = opt.work, opt.batch or BATCH[opt.work]

-- ---------------------------------------------------------------- networks
local function book_g()
  local G, from = nn.Sequential { nn.Linear(100, 6272), nn.Reshape(7, 7, 128) }, 128
  for _, l in ipairs { { 128, 2 }, { 64, 2 }, { 32, 1 }, { 1, 1 } } do
    G:append(nn.BatchNorm(from))
    G:append(nn.ReLU())
    G:append(nn.ConvTranspose2d(from, l[1], 5, { stride = l[2], padding = "same" }))
    from = l[1]
  end
  G:append(nn.Sigmoid())
  return G
end
local function book_d()
  local D, from = nn.Sequential {}, 1
  for _, l in ipairs { { 32, 2 }, { 64, 2 }, { 128, 2 }, { 256, 1 } } do
    D:append(nn.LeakyReLU(0.2))
    D:append(nn.Conv2d(from, l[1], 5, { stride = l[2], padding = "same" }))
    from = l[1]
  end
  D:append(nn.Flatten())
  D:append(nn.Linear(4096, 1))
  return D
end
local function g64()
  local G, from = nn.Sequential {}, 100
  for _, l in ipairs { { 512, 1, 0 }, { 256, 2, 1 }, { 128, 2, 1 }, { 64, 2, 1 } } do
    G:append(nn.ConvTranspose2d(from, l[1], 4, { stride = l[2], padding = l[3], bias = false }))
    G:append(nn.BatchNorm(l[1]))
    G:append(nn.ReLU())
    from = l[1]
  end
  G:append(nn.ConvTranspose2d(64, 3, 4, { stride = 2, padding = 1, bias = false }))
  G:append(nn.Tanh())
  return G
end
local function d64()
  local half = { stride = 2, padding = 1, bias = false }
  local D, from = nn.Sequential { nn.Conv2d(3, 64, 4, half), nn.LeakyReLU(0.2) }, 64
  for _, to in ipairs { 128, 256, 512 } do
    D:append(nn.Conv2d(from, to, 4, half))
    D:append(nn.BatchNorm(to))
    D:append(nn.LeakyReLU(0.2))
    from = to
  end
  D:append(nn.Conv2d(512, 1, 4, { bias = false }))
  D:append(nn.Flatten())
  return D
end
local function mlp(sizes, act, last, dropout)
  local net = nn.Sequential {}
  for i = 1, #sizes - 1 do
    net:append(nn.Linear(sizes[i], sizes[i + 1]))
    if i < #sizes - 1 then
      net:append(act())
      if dropout then
        net:append(nn.Dropout(dropout))
      end
    end
  end
  if last then
    net:append(last)
  end
  return net
end
local function demo_nets()
  local half, double = { stride = 2, padding = 1 }, { stride = 2, padding = 1, bias = false }
  return nn.Sequential {
    nn.Linear(32, 4704, { bias = false }), nn.Reshape(7, 7, 96), nn.BatchNorm(96), nn.ReLU(),
    nn.ConvTranspose2d(96, 48, 4, double), nn.BatchNorm(48), nn.ReLU(), nn.ConvTranspose2d(48, 1, 4, half), nn.Tanh(),
  }, nn.Sequential {
    nn.Conv2d(1, 32, 4, half), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, half), nn.LeakyReLU(0.2),
    nn.Conv2d(64, 128, 3, half), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(2048, 1),
  }
end

local G, D, zs, xs
if work == "demo" then
  G, D = demo_nets()
  zs, xs = { 32 }, { 28, 28, 1 }
elseif work == "dcgan64" then
  G, D, zs, xs = g64(), d64(), { 1, 1, 100 }, { 64, 64, 3 }
elseif work == "mlp" then
  local leaky = function()
    return nn.LeakyReLU(0.2)
  end
  G, D = mlp({ 100, 256, 1024, 784 }, leaky, nn.Sigmoid()), mlp({ 784, 1024, 512, 1 }, leaky, nil, 0.3)
  zs, xs = { 100 }, { 784 }
elseif work == "toy" then
  G, D, zs, xs = mlp({ 2, 512, 512, 512, 2 }, nn.ReLU), mlp({ 2, 512, 512, 512, 1 }, nn.ReLU), { 2 }, { 2 }
elseif work == "tiny" then
  G, D, zs, xs = mlp({ 2, 128, 128, 2 }, nn.ReLU), mlp({ 2, 128, 128, 1 }, nn.ReLU), { 2 }, { 2 }
else
  G, D, zs, xs = book_g(), book_d(), { 100 }, { 28, 28, 1 }
end

-- ---------------------------------------------------------------- steps
local function noise(low)
  local shape = { B, low = low, high = 1 }
  for i, n in ipairs(zs) do
    shape[i + 1] = n
  end
  return fg.rand(shape)
end
local real = fg.rand { B, table.unpack(xs) }
local joint = work == "book" or work == "mlp" or work == "toy" or work == "tiny"
local labels = joint and fg.cat({ fg.ones(B, 1), fg.zeros(B, 1) }, 1)
local od, og, ema
if work == "book" then
  od, og = optim.RMSprop(D:parameters(), { lr = 2e-4 }), optim.RMSprop(G:parameters(), { lr = 1e-4 })
else
  local adam = { lr = 2e-4, betas = { 0.5, 0.9 } }
  od, og = optim.Adam(D:parameters(), adam), optim.Adam(G:parameters(), adam)
end
if work == "demo" then
  ema = optim.EMA(G, { decay = 0.999 })
end
local d_parameters = D:parameters()

local function d_loss(fake)
  if joint then
    return D(fg.cat({ real, fake:to "f32" }, 1)):bce_logits(labels):mean() -- under bf16 a last Linear gives bf16
  elseif work == "wgangp" then
    local e = fg.rand(B, 1, 1, 1)
    local mix = (e * real + (1 - e) * fake):detach()
    mix.requires_grad = true
    local g = fg.grad(D(mix):sum(), { mix }, { create_graph = true })[1]
    local norm = (g:square():sum { 2, 3, 4 } + 1e-12):sqrt()
    return D(fake):mean() - D(real):mean() + (norm - 1):square():mean() * 10
  elseif work == "demo" then
    local x = real:detach()
    x.requires_grad = true
    local s = D(x)
    local g = fg.grad(s:sum(), { x }, { create_graph = true })[1]
    return (-s):softplus():mean() + D(fake):softplus():mean() + g:square():sum { 2, 3, 4 }:mean() * 0.25
  end
  return (-D(real)):softplus():mean() + D(fake):softplus():mean()
end

local function train()
  local fake = fg.no_grad(G, noise(-1))
  local loss = d_loss(fake)
  if work == "demo" then -- the images require a gradient for R1 alone
    for i, g in ipairs(fg.grad(loss, d_parameters)) do
      d_parameters[i].grad = g
    end
  else
    loss:backward()
  end
  od:step()
  od:zero_grad() -- here rather than before backward: the next forward pass gets the gradients' memory
  D:freeze()
  local s = D(G(noise(-1)))
  local g_loss = work == "wgangp" and -s:mean() or (-s):softplus():mean()
  g_loss:backward()
  og:step()
  og:zero_grad()
  D:unfreeze()
  if ema then
    ema:update()
  end
end
local function sample()
  fg.no_grad(G, noise(0))
end

local step = work:match "^sample" and sample or train
if step == sample then
  G:eval()
end
if opt.save then
  for _ = 1, opt.steps or 2 do
    fg.scope(step)
  end
  local all = {}
  if step == sample then
    all.pictures = fg.no_grad(G, noise(0)):to "f32"
  else
    for name, list in pairs { g = G:parameters(), d = D:parameters(), ema = ema and ema:shadows() } do
      for i, t in ipairs(list) do
        all[name .. i] = t
      end
    end
  end
  assert(fg.save(opt.save, all))
  return
end
local times, clock = {}, core.clock
for _ = 1, 3 do
  fg.scope(step)
end
local stop = clock() + opt.seconds
while clock() < stop or #times < 5 do
  local t = clock()
  fg.scope(step)
  times[#times + 1] = clock() - t
end
table.sort(times)
local function ms(t)
  return math.floor(t * 1e6 + 0.5) / 1e3
end
local n = #times
local median = n % 2 == 1 and times[(n + 1) // 2] or (times[n // 2] + times[n // 2 + 1]) / 2
print(fg.json.encode {
  fw = "forger", version = fg.VERSION, mode = opt.mode, work = work, threads = opt.threads, batch = B, ms = ms(median),
  min_ms = ms(times[1]), steps = n, rss_mb = core.peak_rss and core.peak_rss() // 1048576 or core.rss() // 1048576, isa = fg.isa(),
})
