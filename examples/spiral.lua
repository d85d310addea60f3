-- A GAN in the plane: G bends a cloud of noise into a spiral, and D is a landscape that can be drawn.
-- The run leaves spiral.svg: samples over D's surface at six moments of the training.
-- Run it with: lua5.4 examples/spiral.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data, gan, viz = fg.nn, fg.optim, fg.data, fg.gan, fg.viz

local EDGE, CELLS = 1.6, 60 -- half the side of the drawn square; cells of D's surface along a side

-- n points on a spiral of one and a half turns, with a little noise.
local function spiral(n)
  local t = fg.rand(n, 1, { stream = "data" }):sqrt() * (3 * math.pi)
  local r = t * (1.2 / (3 * math.pi))
  local points = fg.cat({ r * t:cos(), r * t:sin() }, 2)
  return points + fg.randn(n, 2, { stream = "data" }) * 0.02
end

local function mlp(outputs)
  local layers, from = {}, 2
  for i = 1, 3 do
    layers[2 * i - 1], layers[2 * i] = nn.Linear(from, 128), nn.LeakyReLU(0.2)
    from = 128
  end
  layers[#layers + 1] = nn.Linear(from, outputs)
  return nn.Sequential(layers)
end

-- Columns of a [N,2] tensor as Lua arrays.
local function columns(points)
  local x, y = {}, {}
  for i, row in ipairs(points:totable()) do
    x[i], y[i] = row[1], row[2]
  end
  return x, y
end

-- D(x) on a grid, rows from the lowest y up; colours span what D says there, with undecided (0.5) in the middle.
local function surface(D)
  local points = {}
  for row = 1, CELLS do
    for column = 1, CELLS do
      points[#points + 1] = { ((column - 0.5) / CELLS * 2 - 1) * EDGE, ((row - 0.5) / CELLS * 2 - 1) * EDGE }
    end
  end
  local p = fg.no_grad(D, fg.tensor(points)):sigmoid():reshape(CELLS, CELLS)
  local most = (p - 0.5):abs():max():item()
  return {
    values = p:totable(), x_range = { -EDGE, EDGE }, y_range = { -EDGE, EDGE }, range = { 0.5 - most, 0.5 + most }, scale = "verdict",
  }
end

local function main(opt)
  cli.set_up(opt) -- threads, precision, seed
  local set = data.TensorDataset(spiral(20000))
  local real_x, real_y = columns(spiral(400))
  local G, D = mlp(2), mlp(1)
  local d_lr, g_lr = cli.rates(opt, 1e-3, 1e-3)
  local adam = function(net, lr)
    return optim.Adam(net:parameters(), { lr = lr, betas = { 0.5, 0.9 } })
  end
  local moments = {}
  local out = opt.out or fg.train.next_free("runs/spiral")
  local trainer = gan.Trainer {
    G = G, D = D, latent = { dim = 2, dist = "normal" }, loader = data.Loader(set, { batch = opt.batch }),
    d_opt = adam(D, d_lr), g_opt = adam(G, g_lr), loss = opt.loss, real_label = opt.real_label, d_steps = opt.d_steps,
    regularizers = { gan.regularizers.r1 { gamma = opt.gamma } },
    schedule = fg.train.schedules.linear { from = 0.5, to = 0.05 },
    steps = not opt.epochs and opt.steps or nil, epochs = opt.epochs, sample_every = opt.sample_every, out = out,
    options = { name = "spiral.lua", seed = opt.seed },
    on_sample = function(trainer, step)
      fg.scope(function()
        local x, y = columns(trainer:sample(1000))
        moments[#moments + 1] = viz.scatter {
          title = "step " .. step, square = true, surface = surface(trainer.D),
          sets = { { name = "data", x = real_x, y = real_y, color = "#999999", radius = 1.2 },
            { name = "samples of G", x = x, y = y, color = "#111111", radius = 1.2 } },
        }
      end)
    end,
  }
  local result = trainer:run()
  local shown = {}
  for i = 1, math.min(6, #moments) do -- evenly chosen, the first and the last among them
    shown[i] = moments[#moments <= 6 and i or math.floor((i - 1) * (#moments - 1) / 5 + 1.5)]
  end
  assert(viz.save(out .. "/spiral.svg", shown, { columns = 3, width = 1290, height = 440 * math.ceil(#shown / 3) }))
  print("spiral.svg and the networks are in " .. out)
  return result
end

os.exit(cli.main(main, {
  name = "spiral.lua",
  about = "A GAN in the plane: bends noise into a spiral and draws D's surface over the training.",
  options = cli.common({
    data = false, steps = 6000, batch = 256, d_steps = 1, loss = gan.losses.names, real_label = 1, sample_every = 1000,
  }, { { "gamma", default = 0.02, min = 0, help = "weight of R1" } }),
}, arg))
