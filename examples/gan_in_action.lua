-- The training loop of a GAN, spelled out: no Trainer, nothing hidden. Read this one first.
-- After Langr and Bok, GANs in Action, chapters 1, 3 and 4: MNIST, Adam 1e-3, batch 128, images in [-1,1].
-- Run it with: lua5.4 examples/gan_in_action.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, train = fg.nn, fg.optim, fg.data, fg.train

local Z = 100 -- numbers in a latent vector

-- Chapter 3: two small fully connected networks.
local function mlp()
  local G = nn.Sequential {
    nn.Linear(Z, 128), nn.LeakyReLU(0.01),
    nn.Linear(128, 28 * 28), nn.Tanh(), nn.Reshape(28, 28, 1),
  }
  local D = nn.Sequential {
    nn.Flatten(), nn.Linear(28 * 28, 128), nn.LeakyReLU(0.01),
    nn.Linear(128, 1), -- a logit; its sigmoid is the probability of "real"
  }
  return G, D
end

-- Chapter 4: convolutions and batch norm (DCGAN).
local function dcgan()
  local up = { stride = 2, padding = "same" }
  local G = nn.Sequential {
    nn.Linear(Z, 7 * 7 * 256), nn.Reshape(7, 7, 256),
    nn.ConvTranspose2d(256, 128, 3, up), nn.BatchNorm(128), nn.LeakyReLU(0.01),
    nn.ConvTranspose2d(128, 64, 3, { padding = "same" }), nn.BatchNorm(64), nn.LeakyReLU(0.01),
    nn.ConvTranspose2d(64, 1, 3, up), nn.Tanh(),
  }
  local D = nn.Sequential {
    nn.Conv2d(1, 32, 3, up), nn.LeakyReLU(0.01),
    nn.Conv2d(32, 64, 3, up), nn.BatchNorm(64), nn.LeakyReLU(0.01),
    nn.Conv2d(64, 128, 3, up), nn.BatchNorm(128), nn.LeakyReLU(0.01),
    nn.Flatten(), nn.Linear(4 * 4 * 128, 1),
  }
  return G, D
end

local function main(opt)
  cli.set_up(opt) -- threads, precision, seed
  local digits = assert(data.mnist(opt.data))
  local loader = data.Loader(digits, { batch = opt.batch })
  local G, D = mlp()
  if opt.net == "dcgan" then
    G, D = dcgan()
  end
  nn.init.keras(G) -- the book uses Keras: Glorot's weights, zero biases
  nn.init.keras(D)
  G.latent = { dim = Z, dist = "normal", range = { -1, 1 } } -- goes into its file, so that sample.lua can use it
  print(nn.summary(G, { 1, Z }))
  print(nn.summary(D, { 1, 28, 28, 1 }))
  local d_lr, g_lr = cli.rates(opt, 1e-3, 1e-3)
  local d_opt = optim.Adam(D:parameters(), { lr = d_lr })
  local g_opt = optim.Adam(G:parameters(), { lr = g_lr })
  local folder = train.run_folder(opt.out or train.next_free("runs/gan_in_action"))
  local fixed = fg.randn(64, Z, { stream = "sample" }) -- the same noise for every picture
  local steps = opt.epochs and opt.epochs * #loader or opt.steps or (opt.net == "dcgan" and 5000 or 20000)
  local bar = train.progress { total = steps }
  local d_losses, g_losses = {}, {}

  local function picture(step)
    G:eval()
    local images = fg.no_grad(G, fixed)
    G:train()
    local grid = fg.image.grid(images, { cols = 8, pad = 2, range = { -1, 1 } })
    assert(fg.image.write_png(folder:file(string.format("fakes%06d.png", step)), grid))
  end

  -- D: raise D(x) for real images, lower D(G(z)) for fakes. softplus(-s) is -log(sigmoid(s)).
  local function train_discriminator()
    local real = loader:next()
    local fake = fg.no_grad(G, fg.randn(opt.batch, Z, { stream = "latent" })) -- G is not trained here
    local total = 0
    local function descend(loss)
      d_opt:zero_grad()
      loss:backward()
      d_opt:step()
      total = total + loss:item()
    end
    if opt.d_updates == 2 then -- the book's two updates, one for each kind
      descend((-D(real)):softplus():mean())
      descend(D(fake):softplus():mean())
    else -- the total error in one update
      descend((-D(real)):softplus():mean() + D(fake):softplus():mean())
    end
    return total
  end

  -- G: raise D(G(z)). D is frozen: gradients flow through it, not into it.
  local function train_generator()
    D:freeze()
    local fake = G(fg.randn(opt.batch, Z, { stream = "latent" }))
    local loss = (-D(fake)):softplus():mean()
    g_opt:zero_grad()
    loss:backward()
    g_opt:step()
    D:unfreeze()
    return loss:item()
  end

  for step = 1, steps do
    fg.scope(function() -- frees the step's tensors at once instead of when the collector comes by
      for _ = 1, opt.d_steps do
        d_losses[step] = train_discriminator()
      end
      g_losses[step] = train_generator()
    end)
    bar:update(step, function()
      return string.format("D %.2f G %.2f", d_losses[step], g_losses[step])
    end)
    if step == steps or opt.sample_every > 0 and step % opt.sample_every == 0 then
      fg.scope(function()
        picture(step)
      end)
    end
  end
  bar:finish()

  assert(G:save(folder:file("generator.safetensors")))
  assert(D:save(folder:file("discriminator.safetensors")))
  assert(fg.viz.save(folder:file("losses.svg"), fg.viz.lines {
    title = "Losses", x_label = "step", y_label = "loss", level = { y = 2 * math.log(2), name = "D at equilibrium: 2 ln 2" },
    series = { { name = "D", y = d_losses }, { name = "G", y = g_losses } },
  }))
  print("pictures and networks are in " .. folder.path)
end

os.exit(cli.main(main, {
  name = "gan_in_action.lua",
  about = "The GAN training loop spelled out, with the two pairs of networks of GANs in Action (chapters 3 and 4).",
  options = cli.common({ batch = 128, d_steps = 1, sample_every = 1000, loss = false, real_label = false }, {
    { "net", choices = { "mlp", "dcgan" }, default = "mlp", help = "networks of chapter 3 or of chapter 4" },
    { "d-updates", type = "int", min = 1, max = 2, default = 1, help = "2: D learns from reals and from fakes in two updates" },
  }),
  notes = "Default of --steps: 20000 for mlp, which has shapes from 5000 on; 5000 for dcgan.",
}, arg))
