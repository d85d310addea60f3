-- Draws pictures from a trained generator: the discriminator is gone, the generator lives on.
-- Run it with: lua5.4 examples/sample.lua --generator runs/dcgan_mnist/generator.safetensors --n 100 --out digits.png
if _VERSION ~= "Lua 5.4" then
  io.stderr:write("this needs Lua 5.4, and ", _VERSION, " is running it: try lua5.4 ", arg[0], "\n")
  os.exit(1)
end

local fg = require "forger"
local cli = require "forger.cli"

local function main(opt)
  if not opt.generator then
    cli.usage_error("--generator FILE is missing")
  end
  cli.set_up(opt) -- threads and seed
  local G = assert(fg.nn.load(opt.generator)) -- architecture, weights and latent prior are all in the file
  local images = G:sample(opt.n)
  local columns = opt.columns or math.ceil(math.sqrt(opt.n))
  local grid = fg.image.grid(images, { cols = columns, pad = 2, range = G.latent.range or { -1, 1 } })
  assert(fg.image.write_png(opt.out, grid))
  print(opt.n .. " samples in " .. opt.out)
end

os.exit(cli.main(main, {
  name = "sample.lua",
  about = "Draws pictures from a generator that a training script has saved.",
  options = {
    { "generator", type = "string", value = "FILE", help = "generator.safetensors of a run" },
    { "n", default = 64, min = 1, max = 100000, help = "pictures" },
    { "out", default = "samples.png", value = "PNG", help = "picture file to write" },
    { "columns", type = "int", min = 1, help = "pictures in a row (default: a square)" },
    { "seed", default = 1, help = "seed of the latents" },
    { "threads", type = "int", min = 1, max = 64, help = "threads (default: the cores this process may use)" },
  },
}, arg))
