-- The DCGAN paper's networks on a folder of PNG pictures, 64x64 in colour (Radford et al. 2015, arXiv:1511.06434, with
-- the settings of the PyTorch DCGAN tutorial). Large networks: on a laptop a step takes seconds.
-- Run it with: lua5.4 examples/dcgan_64.lua --data FOLDER
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, gan = fg.nn, fg.optim, fg.data, fg.gan

local Z, COLORS = 100, 3

local function networks(width)
  local double, plain = { stride = 2, padding = 1, bias = false }, { bias = false }
  local G = nn.Sequential {
    nn.Reshape(1, 1, Z),
    nn.ConvTranspose2d(Z, 8 * width, 4, plain), nn.BatchNorm(8 * width), nn.ReLU(), -- 4x4
    nn.ConvTranspose2d(8 * width, 4 * width, 4, double), nn.BatchNorm(4 * width), nn.ReLU(), -- 8x8
    nn.ConvTranspose2d(4 * width, 2 * width, 4, double), nn.BatchNorm(2 * width), nn.ReLU(), -- 16x16
    nn.ConvTranspose2d(2 * width, width, 4, double), nn.BatchNorm(width), nn.ReLU(), -- 32x32
    nn.ConvTranspose2d(width, COLORS, 4, double), nn.Tanh(), -- 64x64
  }
  local D = nn.Sequential {
    nn.Conv2d(COLORS, width, 4, double), nn.LeakyReLU(0.2), -- 32x32
    nn.Conv2d(width, 2 * width, 4, double), nn.BatchNorm(2 * width), nn.LeakyReLU(0.2), -- 16x16
    nn.Conv2d(2 * width, 4 * width, 4, double), nn.BatchNorm(4 * width), nn.LeakyReLU(0.2), -- 8x8
    nn.Conv2d(4 * width, 8 * width, 4, double), nn.BatchNorm(8 * width), nn.LeakyReLU(0.2), -- 4x4
    nn.Conv2d(8 * width, 1, 4, plain), nn.Flatten(),
  }
  nn.init.dcgan(G)
  nn.init.dcgan(D)
  return G, D
end

local function main(opt)
  if not opt.data then
    cli.usage_error("--data FOLDER is missing: a folder of PNG pictures")
  end
  cli.set_up(opt) -- threads, precision, seed
  local pictures = assert(data.image_folder(opt.data, { size = 64, channels = COLORS }))
  print(#pictures .. " pictures in " .. opt.data)
  local G, D = networks(opt.width)
  local d_lr, g_lr = cli.rates(opt, 2e-4, 2e-4)
  local function adam(net, lr)
    return optim.Adam(net:parameters(), { lr = lr, betas = { 0.5, 0.999 } })
  end
  local trainer = gan.Trainer {
    G = G, D = D, latent = { dim = Z, dist = "normal" }, loader = data.Loader(pictures, { batch = opt.batch }),
    d_opt = adam(D, d_lr), g_opt = adam(G, g_lr), loss = opt.loss, real_label = opt.real_label, d_steps = opt.d_steps,
    fakes = "reuse", -- G learns from the fakes that D has just seen
    ema = false, steps = opt.steps, epochs = not opt.steps and opt.epochs or nil, sample_every = opt.sample_every,
    out = opt.out or fg.train.next_free("runs/dcgan_64"), options = { name = "dcgan_64.lua", seed = opt.seed, width = opt.width },
  }
  local result = trainer:run()
  print("pictures, plots and networks are in " .. result.out)
  return result
end

os.exit(cli.main(main, {
  name = "dcgan_64.lua",
  about = "Trains the DCGAN of the paper on a folder of PNG pictures: resized and centre-cropped to 64x64, in colour.",
  options = cli.common({ batch = 128, epochs = 25, d_steps = 1, loss = gan.losses.names, real_label = 1, sample_every = 500 }, {
    { "width", default = 64, min = 4, help = "channels of the widest maps; 16 trains an order of magnitude faster" },
  }),
}, arg))
