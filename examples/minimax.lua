-- Two ways to train G: minimise log(1 - D(G(z))), the game of the theory, or maximise log D(G(z)). Both have the same
-- fixed point, where D(x) = D(G(z)) = 0.5. But the data start far from G's samples here and D learns faster: it soon
-- knows every fake, and where D(G(z)) is near 0 the first loss is flat while the second is steep.
-- Run it with: lua5.4 examples/minimax.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, gan, viz = fg.nn, fg.optim, fg.data, fg.gan, fg.viz

local function mlp(inputs, outputs)
  return nn.Sequential {
    nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs),
  }
end

-- One run with the named loss; gives D(x), D(G(z)) and the length of G's gradient at each step.
local function play(opt, loss)
  fg.manual_seed(opt.seed) -- both runs start from the same networks and see the same data
  local ring = fg.rand(10000, 1, { stream = "data" }) * (2 * math.pi)
  local points = fg.cat({ ring:cos(), ring:sin() }, 2) + fg.randn(10000, 2, { stream = "data" }) * 0.05 + fg.tensor { 4, 4 }
  local G, D = mlp(2, 2), mlp(2, 1)
  local d_lr, g_lr = cli.rates(opt, 2e-3, 5e-4)
  local history = { d_real = {}, d_fake = {}, g_grad = {} }
  gan.Trainer({
    G = G, D = D, latent = { dim = 2 }, loader = data.Loader(data.TensorDataset(points), { batch = opt.batch }),
    d_opt = optim.Adam(D:parameters(), { lr = d_lr, betas = { 0.5, 0.9 } }),
    g_opt = optim.Adam(G:parameters(), { lr = g_lr, betas = { 0.5, 0.9 } }),
    loss = loss, real_label = opt.real_label, d_steps = opt.d_steps,
    steps = not opt.epochs and opt.steps or nil, epochs = opt.epochs, sample_every = 0, ema = false,
    on_step = function(_, record)
      for _, key in ipairs { "d_real", "d_fake", "g_grad" } do
        history[key][record.step] = record[key]
      end
    end,
  }):run()
  return history
end

local function main(opt)
  cli.set_up(opt) -- threads, precision, seed
  local folder = fg.train.run_folder(opt.out or fg.train.next_free("runs/minimax"))
  local panels, gradients = {}, {}
  for _, loss in ipairs { "saturating", "non_saturating" } do
    local h = play(opt, loss)
    panels[#panels + 1] = viz.lines {
      title = loss, x_label = "step", y_label = "mean probability of \"real\"", y_range = { 0, 1 },
      series = { { name = "D(x)", y = h.d_real }, { name = "D(G(z))", y = h.d_fake } }, level = { y = 0.5, name = "equilibrium" },
    }
    gradients[#gradients + 1] = { name = loss, y = h.g_grad }
  end
  panels[#panels + 1] = viz.lines {
    title = "length of G's gradient", x_label = "step", y_label = "norm", log_y = true, series = gradients,
  }
  assert(viz.save(folder:file("minimax.svg"), panels, { height = 1050 }))
  print("minimax.svg is in " .. folder.path)
end

os.exit(cli.main(main, {
  name = "minimax.lua",
  about = "Compares the saturating and the non-saturating loss on points of a ring.",
  options = cli.common({
    data = false, loss = false, sample_every = false, steps = 2000, batch = 128, d_steps = 2, real_label = 1,
  }),
}, arg))
