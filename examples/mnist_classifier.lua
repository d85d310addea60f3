-- A small convolutional classifier of the MNIST digits, at least 99% right on the test set after four epochs.
-- It also serves as the judge of generated digits (dcgan_mnist.lua --evaluate).
-- Run it with: lua5.4 examples/mnist_classifier.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"
local nn, optim, data = fg.nn, fg.optim, fg.data

local function network()
  return nn.Sequential {
    nn.Conv2d(1, 16, 5, { padding = 2, bias = false }), nn.BatchNorm(16), nn.ReLU(), nn.MaxPool2d(2), -- 14x14
    nn.Conv2d(16, 32, 5, { padding = 2, bias = false }), nn.BatchNorm(32), nn.ReLU(), nn.MaxPool2d(2), -- 7x7
    nn.Flatten(), nn.Linear(7 * 7 * 32, 128), nn.ReLU(), nn.Dropout(0.4),
    nn.Linear(128, 10), -- one logit a digit
  }
end

-- Share of a set that the network gets right.
local function accuracy(net, set)
  local loader = data.Loader(set, { batch = 200, shuffle = false, drop_last = false })
  local right = 0
  net:eval() -- batch norm by its running statistics, no dropout
  for x, y in loader:epoch() do
    fg.scope(function()
      local best = fg.no_grad(net, x):argmax(2)
      right = right + best:eq(y):to("f32"):sum():item()
      x:free()
    end)
  end
  net:train()
  return right / #set
end

local function main(opt)
  cli.set_up(opt) -- threads, precision, seed
  local digits = assert(data.mnist(opt.data, { split = "train" }))
  local unseen = assert(data.mnist(opt.data, { split = "test" }))
  local folder = fg.train.run_folder(opt.out or fg.train.next_free("runs/mnist_classifier"))
  local net = network()
  print(nn.summary(net, { 1, 28, 28, 1 }))
  local loader = data.Loader(digits, { batch = opt.batch })
  local lr = opt.lr or 2e-3
  local opt_adam = optim.Adam(net:parameters(), { lr = lr })
  local total = opt.steps or opt.epochs * #loader
  local bar = fg.train.progress { total = total }
  local losses = {}
  while #losses < total do
    for x, y in loader:epoch() do
      opt_adam.lr = lr * (1 - #losses / total) -- falls linearly to zero
      fg.scope(function()
        local loss = fg.cross_entropy(net(x), y):mean()
        opt_adam:zero_grad()
        loss:backward()
        opt_adam:step()
        losses[#losses + 1] = loss:item()
        x:free()
      end)
      bar:update(#losses, function()
        return string.format("loss %.3f", losses[#losses])
      end)
      if #losses == total then
        break
      end
    end
    bar:message(string.format("after %d steps: %.2f%% of the test digits are right", #losses, 100 * accuracy(net, unseen)))
  end
  bar:finish()
  net:eval()
  assert(net:save(folder:file("classifier.safetensors")))
  assert(fg.viz.save(folder:file("losses.svg"), fg.viz.lines {
    title = "Cross-entropy", x_label = "step", y_label = "loss", log_y = true, series = { { name = "training", y = losses } },
  }))
  print(string.format("test accuracy %.4f; network and plot are in %s", accuracy(net, unseen), folder.path))
end

os.exit(cli.main(main, {
  name = "mnist_classifier.lua",
  about = "Trains a small convolutional classifier on the MNIST digits.",
  options = cli.common({
    batch = 128, epochs = 4, d_steps = false, loss = false, real_label = false, g_lr = false, d_lr = false, sample_every = false,
  }),
}, arg))
