--- The latent prior: how the noise is drawn that G turns into samples. One object serves training, fixed noise, grids
--- and evaluation, and is saved with G, so that a loaded G can be sampled without knowing how it was trained.
local fg = require "forger"
local words = require "forger.words"

local latent = {}

---@class forger.gan.Latent
---@field dim integer
---@field dist "normal"|"uniform"
---@field range number[]? values that stand for black and white in the samples, for whoever shows them
local Latent = {}
Latent.__index = Latent

--- A prior over vectors of length `dim`: "normal" is N(0,1), "uniform" is U(-1,1), each component on its own.
---@param options {dim: integer, dist: "normal"|"uniform"?, range: number[]?}
---@return forger.gan.Latent
function latent.new(options)
  if getmetatable(options) == Latent then
    return options
  end
  options = words.check_options("gan.Latent", options, { "dim", "dist", "range" })
  local dim = math.tointeger(options.dim)
  if not dim or dim < 1 then
    error("gan.Latent: dim must be a whole number of at least 1, got " .. tostring(options.dim), 2)
  end
  local dist = words.check_choice("gan.Latent", "dist", options.dist or "normal", { "normal", "uniform" })
  return setmetatable({ dim = dim, dist = dist, range = options.range }, Latent)
end

--- Draws n latent vectors.
---@param n integer
---@param stream string? random stream, default "latent"
---@return forger.Tensor z [n,dim] f32
function Latent:draw(n, stream)
  stream = stream or "latent"
  if self.dist == "normal" then
    return fg.randn(n, self.dim, { stream = stream })
  end
  return fg.rand(n, self.dim, { stream = stream, low = -1, high = 1 })
end

--- As plain data, for files.
---@return table
function Latent:config()
  return { dim = self.dim, dist = self.dist, range = self.range }
end

-- Largest minibatch of sampling: more would only need more memory.
local CHUNK = 100

--- Draws n samples from a generator, in eval mode and without a graph; G's mode is restored.
---
--- options: latent (default: G.latent, which the Trainer sets and model files keep); z (use these latents instead);
--- stream (default "sample").
---@param G forger.nn.Module
---@param n integer
---@param options {latent: table, z: forger.Tensor, stream: string}?
---@return forger.Tensor images [n, ...] as G gives them
function latent.sample(G, n, options)
  options = words.check_options("sample", options, { "latent", "z", "stream" })
  local z = options.z
  local prior = options.latent or G.latent
  if not z and not prior then
    error("sample: this generator carries no latent prior; pass { latent = { dim = ..., dist = ... } } or { z = ... }", 2)
  end
  local was_training = G.training
  G:eval()
  local ok, result = pcall(fg.no_grad, function()
    if not z then
      z = latent.new(prior):draw(n, options.stream or "sample")
    end
    local parts = {}
    for first = 1, n, CHUNK do
      fg.scope(function(scope)
        parts[#parts + 1] = scope:keep(G(z:slice(1, first, math.min(n, first + CHUNK - 1))))
      end)
    end
    return #parts == 1 and parts[1] or fg.cat(parts, 1)
  end)
  if was_training then
    G:train()
  end
  if not ok then
    error(result, 0)
  end
  return result
end

return latent
