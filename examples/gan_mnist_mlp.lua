-- A GAN of fully connected networks on the MNIST digits, after a well-known Keras notebook: losses, accuracies, and
-- histograms of what D thinks of real and fake.
-- Run it with: lua5.4 examples/gan_mnist_mlp.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, gan, viz = fg.nn, fg.optim, fg.data, fg.gan, fg.viz

local function main(opt)
  cli.set_up(opt) -- threads, precision, seed
  local digits = assert(data.mnist(opt.data, { range = { 0, 1 } }))
  local G = nn.Sequential {
    nn.Linear(100, 256), nn.LeakyReLU(0.2),
    nn.Linear(256, 1024), nn.LeakyReLU(0.2),
    nn.Linear(1024, 28 * 28), nn.Sigmoid(), nn.Reshape(28, 28, 1),
  }
  local D = nn.Sequential {
    nn.Flatten(),
    nn.Linear(28 * 28, 1024), nn.LeakyReLU(0.2), nn.Dropout(0.3), -- dropout keeps D from learning the reals by heart
    nn.Linear(1024, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3),
    nn.Linear(512, 1),
  }
  nn.init.keras(G)
  nn.init.keras(D)
  local d_lr, g_lr = cli.rates(opt, 2e-4, 2e-4)
  local real_accuracy, fake_accuracy = {}, {}
  local trainer = gan.Trainer {
    G = G, D = D, latent = { dim = 100, dist = "normal" },
    loader = data.Loader(digits, { batch = opt.batch }),
    d_opt = optim.Adam(D:parameters(), { lr = d_lr, betas = { 0.5, 0.9 } }),
    g_opt = optim.Adam(G:parameters(), { lr = g_lr, betas = { 0.5, 0.9 } }),
    loss = opt.loss, real_label = opt.real_label, d_steps = opt.d_steps, ema = false,
    d_batch = "joint", d_reduction = "mean", -- Keras: one minibatch of reals and fakes, the mean over both
    steps = opt.steps, epochs = not opt.steps and opt.epochs or nil,
    out = opt.out or fg.train.next_free("runs/gan_mnist_mlp"), sample_every = opt.sample_every,
    options = { name = "gan_mnist_mlp.lua", seed = opt.seed },
    on_step = function(_, record)
      real_accuracy[record.step], fake_accuracy[record.step] = record.acc_real, record.acc_fake
    end,
  }
  local result = trainer:run()
  assert(viz.save(result.out .. "/accuracy.svg", viz.lines {
    title = "How often D is right", x_label = "step", y_label = "accuracy", y_range = { 0, 1 },
    level = { y = 0.5, name = "guessing" },
    series = { { name = "on real digits", y = real_accuracy }, { name = "on fakes", y = fake_accuracy } },
  }))
  print("pictures, plots and networks are in " .. result.out)
  return result
end

os.exit(cli.main(main, {
  name = "gan_mnist_mlp.lua",
  about = "Trains a GAN of fully connected networks on the MNIST digits.",
  options = cli.common({
    batch = 128, epochs = 100, d_steps = 1, loss = gan.losses.names, real_label = 1, sample_every = 2000,
  }),
  notes = "The default of 100 epochs is 46,800 steps; --steps, when given, goes before --epochs.",
}, arg))
