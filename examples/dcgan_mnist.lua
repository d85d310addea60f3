-- A DCGAN on the MNIST digits: the script to start from. Two recipes (--preset), one training loop.
-- Run it with: lua5.4 examples/dcgan_mnist.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, gan = fg.nn, fg.optim, fg.data, fg.gan

local presets = {}

-- Found by measurement: small networks, a fast rate, and R1, which keeps D smooth around the real digits.
presets.default = {
  steps = 5000, samples = 64, latent = { dim = 32, dist = "normal" }, range = { -1, 1 }, regularizer = "r1", ema = 0.999,
  d_lr = 2e-3, g_lr = 2e-3, schedule = fg.train.schedules.linear { from = 0.6, to = 0.01 },
  networks = function()
    local half, double = { stride = 2, padding = 1 }, { stride = 2, padding = 1, bias = false }
    local G = nn.Sequential {
      nn.Linear(32, 7 * 7 * 96, { bias = false }), nn.Reshape(7, 7, 96), nn.BatchNorm(96), nn.ReLU(),
      nn.ConvTranspose2d(96, 48, 4, double), nn.BatchNorm(48), nn.ReLU(), -- 14x14
      nn.ConvTranspose2d(48, 1, 4, half), nn.Tanh(), -- 28x28
    }
    local D = nn.Sequential {
      nn.Conv2d(1, 32, 4, half), nn.LeakyReLU(0.2), -- 14x14
      nn.Conv2d(32, 64, 4, half), nn.LeakyReLU(0.2), -- 7x7
      nn.Conv2d(64, 128, 3, half), nn.LeakyReLU(0.2), -- 4x4
      nn.Flatten(), nn.Linear(4 * 4 * 128, 1),
    }
    nn.init.dcgan(G)
    nn.init.dcgan(D)
    return G, D
  end,
  optimizer = function(net, lr)
    return optim.Adam(net:parameters(), { lr = lr, betas = { 0, 0.99 } })
  end,
}

-- Atienza, Advanced Deep Learning with Keras, chapter 4, to the letter.
presets.book = {
  steps = 40000, samples = 16, latent = { dim = 100, dist = "uniform" }, range = { 0, 1 }, regularizer = "none", ema = false,
  d_lr = 2e-4, g_lr = 1e-4, d_batch = "joint", d_fake_mode = "eval", d_reduction = "mean", replacement = true,
  networks = function()
    local keras = { momentum = 0.01, eps = 1e-3 } -- Keras calls this momentum 0.99
    local G = nn.Sequential { nn.Linear(100, 7 * 7 * 128), nn.Reshape(7, 7, 128) }
    local D = nn.Sequential {}
    local from = 128
    for _, layer in ipairs { { 128, 2 }, { 64, 2 }, { 32, 1 }, { 1, 1 } } do
      G:append(nn.BatchNorm(from, keras))
      G:append(nn.ReLU())
      G:append(nn.ConvTranspose2d(from, layer[1], 5, { stride = layer[2], padding = "same" }))
      from = layer[1]
    end
    G:append(nn.Sigmoid())
    for _, layer in ipairs { { 32, 2 }, { 64, 2 }, { 128, 2 }, { 256, 1 } } do
      D:append(nn.LeakyReLU(0.2)) -- activation first, on the pictures too
      D:append(nn.Conv2d(from, layer[1], 5, { stride = layer[2], padding = "same" }))
      from = layer[1]
    end
    D:append(nn.Flatten())
    D:append(nn.Linear(4 * 4 * 256, 1))
    nn.init.keras(G)
    nn.init.keras(D)
    return G, D
  end,
  optimizer = function(net, lr)
    local decay = lr * 3e-4 -- 6e-8 for D's 2e-4, 3e-8 for G's 1e-4
    return optim.RMSprop(net:parameters(), { lr = lr, alpha = 0.9, eps = 1e-7, lr_decay = decay })
  end,
}

-- How many of 10,000 samples does a classifier of real digits recognise with p >= 0.9?
local function evaluate(opt, folder, preset)
  local bar = fg.train.progress { total = 0, label = "judge" }
  local judge = assert(fg.metrics.judge.get(opt.data, folder, function(done, total, loss)
    bar.total = total
    bar:update(done, string.format("loss %.3f", loss))
  end))
  bar:finish()
  fg.manual_seed(opt.seed)
  local G = assert(nn.load(folder .. "/generator.safetensors"))
  local images = G:sample(10000)
  if preset.range[1] == 0 then
    images = images * 2 - 1
  end
  local fake = fg.metrics.confidence(judge, images)
  local real = fg.metrics.confidence(judge, assert(data.mnist(opt.data, { split = "test" })))
  print(string.format("recognised with p >= 0.9: %.4f of 10000 samples, %.4f of the real test digits, ratio %.4f",
    fake.sure, real.sure, fake.sure / real.sure))
  for digit = 0, 9 do
    print(string.format("  digit %d: %.4f of the samples", digit, fake.shares[digit + 1]))
  end
end

local function regularizer(opt, preset)
  local name = opt.regularizer or preset.regularizer
  if name == "gradient_penalty" then
    return gan.regularizers.gradient_penalty { weight = opt.gamma or 10 }
  end
  return gan.regularizers.make(name, { gamma = opt.gamma or 0.5 })
end

local function main(opt)
  local preset = presets[opt.preset]
  cli.set_up(opt) -- threads, precision, seed
  local digits = assert(data.mnist(opt.data, { range = preset.range }))
  local G, D = preset.networks()
  local d_lr, g_lr = cli.rates(opt, preset.d_lr, preset.g_lr)
  local trainer = gan.Trainer {
    G = G, D = D, latent = preset.latent,
    loader = data.Loader(digits, { batch = opt.batch, replacement = preset.replacement }),
    d_opt = preset.optimizer(D, d_lr), g_opt = preset.optimizer(G, g_lr), schedule = preset.schedule,
    loss = opt.loss, real_label = opt.real_label, d_steps = opt.d_steps,
    regularizers = { regularizer(opt, preset) },
    d_batch = preset.d_batch, d_fake_mode = preset.d_fake_mode, d_reduction = preset.d_reduction, ema = preset.ema,
    steps = not opt.epochs and (opt.steps or preset.steps) or nil, epochs = opt.epochs,
    out = opt.out or fg.train.next_free("runs/dcgan_mnist"), sample_every = opt.sample_every, samples = preset.samples,
    options = { name = "dcgan_mnist.lua", preset = opt.preset, seed = opt.seed },
  }
  local result = trainer:run()
  print("pictures, plots and networks are in " .. result.out)
  if opt.evaluate and not result.interrupted then
    evaluate(opt, result.out, preset)
  end
  return result
end

os.exit(cli.main(main, {
  name = "dcgan_mnist.lua",
  about = "Trains a DCGAN on the MNIST digits (or on any set in the same four files, such as Fashion-MNIST, by --data).",
  options = cli.common({ batch = 64, d_steps = 1, loss = gan.losses.names, real_label = 1, sample_every = 500 }, {
    { "preset", choices = { "default", "book" }, default = "default", help = "the recipe" },
    { "regularizer", type = "choice", choices = gan.regularizers.names, help = "penalty on D's gradient" },
    { "gamma", type = "number", min = 0, help = "weight of the penalty (default: 0.5; gradient_penalty 10)" },
    { "evaluate", help = "afterwards judge 10,000 samples by a classifier of real digits" },
  }),
  notes = "Defaults of the preset: default 5000 steps, lr 2e-3, r1; book 40000 steps, lr 2e-4 and 1e-4 for G, none.",
}, arg))
