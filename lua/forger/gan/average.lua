--- The exponential moving average of G: a second generator whose weights follow G's slowly. Its samples are better and
--- steadier than G's own (Yazici et al. 2019, arXiv:1806.04498).
---
--- Weights move by min(decay, (1 + t) / (10 + t)) at update t, so that the first steps are forgotten soon. Batch-norm
--- statistics are not averaged: they would belong to other weights. They are measured again before the average is used,
--- over 50 minibatches of latents from the stream "eval", always from its beginning, so that looking at the average
--- changes nothing and gives the same picture each time.
local core = require "forger.core"
local fg = require "forger"

local average = {}

---@class forger.gan.EMA
---@field module forger.nn.Module the averaged generator, in eval mode
local EMA = {}
EMA.__index = EMA

local BATCHES = 50

--- Batch-norm layers of a network, in order.
---@param module forger.nn.Module
---@return forger.nn.Module[]
function average.batch_norms(module)
  local list = {}
  for _, m in ipairs(module:modules()) do
    if m.class == "BatchNorm" then
      list[#list + 1] = m
    end
  end
  return list
end

--- options: decay (0.999).
---@param G forger.nn.Module
---@param options {decay: number}?
---@return forger.gan.EMA
function average.new(G, options)
  local decay = options and options.decay or 0.999
  if type(decay) ~= "number" or not (decay >= 0 and decay < 1) then
    error("gan.EMA: decay must be at least 0 and below 1, got " .. tostring(decay), 2)
  end
  local self = setmetatable({ source = G, decay = decay, updates = 0 }, EMA)
  self.module = G:clone()
  self.module:freeze()
  self.module:eval()
  self.module.latent = G.latent
  self.to, self.from = self.module:parameters(), G:parameters()
  self.norms = average.batch_norms(self.module)
  return self
end

--- Moves the average towards G; call it after each update of G.
function EMA:update()
  local t = self.updates
  fg.optim.ema_update(self.to, self.from, math.min(self.decay, (1 + t) / (10 + t)))
  self.updates = t + 1
end

--- Measures the batch-norm statistics of a network over latents from the beginning of the stream "eval". Dropout stays
--- off and no other stream moves; the network's mode is restored.
---@param module forger.nn.Module
---@param latent forger.gan.Latent
---@param batch integer
function average.measure(module, latent, batch)
  local norms = average.batch_norms(module)
  if #norms == 0 then
    return
  end
  local was_training, here = module.training, core.stream_get("eval")
  core.stream_set("eval", { key = here.key, offset = 0 })
  module:eval()
  local momenta = {}
  for i, norm in ipairs(norms) do
    momenta[i] = norm.momentum
    norm:train()
  end
  for k = 1, BATCHES do
    for _, norm in ipairs(norms) do
      norm.momentum = 1 / k -- the plain mean over the minibatches so far
    end
    fg.scope(function()
      fg.no_grad(function()
        module(latent:draw(batch, "eval"))
      end)
    end)
  end
  for i, norm in ipairs(norms) do
    norm.momentum = momenta[i]
  end
  core.stream_set("eval", here)
  if was_training then
    module:train()
  else
    module:eval()
  end
end

--- Makes the average ready for use: batch-norm statistics that belong to its weights.
---@param latent forger.gan.Latent
---@param batch integer minibatch of the measurement, as in training
---@return forger.nn.Module the averaged generator
function EMA:refresh(latent, batch)
  average.measure(self.module, latent, batch)
  return self.module
end

return average
