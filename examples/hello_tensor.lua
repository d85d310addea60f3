-- Tensors and gradients in one page: fit a line to noisy points, without any layer or optimizer.
-- Run it with: lua5.4 examples/hello_tensor.lua
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"

local function main(opt)
  fg.manual_seed(opt.seed)

  -- Tensors are made from tables or filled; arithmetic broadcasts as in NumPy.
  local a = fg.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
  print(a)
  print("sum of each row", a:sum(2))
  print("plus a row of tens", a + fg.tensor { 10, 20, 30 })

  -- Points on the line y = 3 x - 1, with noise.
  local x = fg.rand(100, 1)
  local y = x * 3 - 1 + fg.randn(100, 1) * 0.1

  -- Two leaves that want gradients. Everything computed from them remembers how.
  local slope, shift = fg.zeros(1), fg.zeros(1)
  slope.requires_grad, shift.requires_grad = true, true
  for step = 1, opt.steps do
    local loss = (x * slope + shift - y):square():mean()
    loss:backward() -- fills slope.grad and shift.grad
    fg.no_grad(function() -- the update itself is not part of the graph
      slope:sub_(slope.grad * opt.lr)
      shift:sub_(shift.grad * opt.lr)
    end)
    slope.grad, shift.grad = nil, nil
    if step % 50 == 0 then
      print(string.format("step %3d  loss %.4f  slope %.3f  shift %.3f", step, loss:item(), slope:item(), shift:item()))
    end
  end

  -- Gradients of gradients: d2/dx2 of x^3 is 6 x.
  local t = fg.tensor { 2 }
  t.requires_grad = true
  local first = fg.grad((t ^ 3):sum(), { t }, { create_graph = true })[1]
  local second = fg.grad(first:sum(), { t })[1]
  print("x^3 at 2: first derivative " .. first:item() .. ", second " .. second:item())
end

os.exit(cli.main(main, {
  name = "hello_tensor.lua",
  about = "Tensors and gradients in one page: fits a line to noisy points.",
  options = {
    { "steps", default = 200, min = 1, help = "updates" },
    { "lr", default = 0.5, above = 0, help = "learning rate" },
    { "seed", default = 1, help = "seed of the noise" },
  },
}, arg))
