--- Penalties on D's gradient with respect to its input. They act on logits and need second-order gradients.
---
--- A regularizer is { name, every, watch, penalty = function(self, batch) }. `batch` holds D, real, fake (images without
--- a graph), and, where the Trainer has them already, real_logits and fake_logits made from inputs that require a
--- gradient. `penalty` returns a scalar to add to D's loss. With every = k it acts on each k-th update of D, its weight
--- multiplied by k (lazy regularization, Karras et al. 2020, arXiv:1912.04958). Compose them by listing several.
local fg = require "forger"
local words = require "forger.words"

local regularizers = {}

local function checked(name, options, known)
  known[#known + 1] = "every"
  options = words.check_options("gan.regularizers." .. name, options, known)
  local every = math.tointeger(options.every or 1)
  if not every or every < 1 then
    error("gan.regularizers." .. name .. ": every must be a whole number of at least 1, got " .. tostring(options.every), 3)
  end
  return options, every
end

local function weight_of(name, value, default)
  value = value == nil and default or value
  if type(value) ~= "number" or value < 0 or value ~= value then
    error("gan.regularizers." .. name .. ": the weight must be a number of at least 0, got " .. tostring(value), 3)
  end
  return value
end

-- Logits of `images` that can be differentiated with respect to them.
local function watched(D, images)
  local x = images:detach()
  x.requires_grad = true
  return x, D(x)
end

local function zero_centred(name, which, options)
  local every
  options, every = checked(name, options, { "gamma" })
  local gamma = weight_of(name, options.gamma, 1)
  local self = { name = name, every = every, watch = which, gamma = gamma }
  function self.config()
    return { name = name, gamma = gamma, every = every }
  end
  function self.penalty(_, batch)
    local x, logits = batch[which], batch[which .. "_logits"]
    if not (logits and x.requires_grad) then
      x, logits = watched(batch.D, x)
    end
    local gradient = fg.grad(logits:sum(), { x }, { create_graph = true })[1]
    return gradient:square():sum() * (gamma / 2 * every / x:size(1))
  end
  return self
end

--- R1: gamma/2 E |dD(x)/dx|^2 at real images, the square summed over pixels and channels: Mescheder et al. 2018,
--- arXiv:1801.04406.
---@param options {gamma: number, every: integer}? gamma 1, every 1
function regularizers.r1(options)
  return zero_centred("r1", "real", options)
end

--- R2: the same at fake images.
---@param options {gamma: number, every: integer}?
function regularizers.r2(options)
  return zero_centred("r2", "fake", options)
end

--- WGAN-GP: weight E (|dD(x)/dx| - 1)^2 at random points between a real and a fake image, one epsilon a sample, the norm
--- over all axes but the first, 1e-12 inside the root: Gulrajani et al. 2017, arXiv:1704.00028. D must have no
--- BatchNorm: the penalty is about single samples.
---@param options {weight: number, every: integer}? weight 10, every 1
function regularizers.gradient_penalty(options)
  local every
  options, every = checked("gradient_penalty", options, { "weight" })
  local weight = weight_of("gradient_penalty", options.weight, 10)
  local self = { name = "gradient_penalty", every = every, weight = weight, per_sample = true }
  function self.config()
    return { name = "gradient_penalty", weight = weight, every = every }
  end
  function self.penalty(_, batch)
    local real, fake = batch.real:detach(), batch.fake:detach()
    local shape = real.shape
    local n = shape[1]
    for i = 2, #shape do
      shape[i] = 1
    end
    local epsilon = fg.rand(n, { stream = "label" }):reshape(table.unpack(shape))
    local x, logits = watched(batch.D, fake + (real - fake) * epsilon)
    local gradient = fg.grad(logits:sum(), { x }, { create_graph = true })[1]
    local norm = (gradient:reshape(n, -1):square():sum(2) + 1e-12):sqrt()
    return (norm - 1):square():mean() * (weight * every)
  end
  return self
end

--- Names, for help texts and `make`.
regularizers.names = { "none", "r1", "r2", "gradient_penalty" }

--- A regularizer by name ("none" gives nil).
---@param name string
---@param options table?
function regularizers.make(name, options)
  words.check_choice("gan.regularizers", "regularizer", name, regularizers.names)
  return name ~= "none" and regularizers[name](options) or nil
end

return regularizers
