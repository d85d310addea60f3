--- nn.init: initialisers. Each fills all built-in layers of a network from the random stream "init" and returns the network.
local core = require "forger.core"
local initialise = {}

local function each_layer(net, how, std)
  for _, m in ipairs(net:modules()) do
    local layer = rawget(m, "_layer")
    if layer then
      core.layer_init(layer, how, std)
    end
  end
  return net
end

--- PyTorch's defaults, which new layers have already: U(+-1/sqrt(fan_in)); transposed convolutions count Cout KH KW.
---@param net forger.nn.Module
---@return forger.nn.Module net
function initialise.torch(net)
  return each_layer(net, "torch")
end

--- Keras' defaults: Glorot uniform weights, zero biases.
---@param net forger.nn.Module
---@return forger.nn.Module net
function initialise.keras(net)
  return each_layer(net, "keras")
end

--- The DCGAN paper's: weights N(0, 0.02), batch norm's gamma N(1, 0.02), biases 0 (Radford et al. 2016).
---@param net forger.nn.Module
---@return forger.nn.Module net
function initialise.dcgan(net)
  return each_layer(net, "dcgan")
end

local function weights(target, name, fill)
  core.no_grad(function()
    if core.is_tensor(target) then
      fill(target)
      return
    end
    if type(target) ~= "table" or not target.named_parameters then
      core.raise("init." .. name .. ": a module or a tensor expected, got " .. type(target))
    end
    for _, p in target:named_parameters() do
      fill(p)
    end
  end)
  return target
end

--- A tensor: N(mean, std). A network: weights N(0, std), gamma 1, biases 0. normal(x, std) or normal(tensor, mean, std).
---@param target forger.nn.Module|forger.Tensor
---@param a number std, or mean when b is given
---@param b number?
---@return forger.nn.Module|forger.Tensor target
function initialise.normal(target, a, b)
  if core.is_tensor(target) then
    return weights(target, "normal", function(t)
      t:normal_(b and a or 0, b or a or 1)
    end)
  end
  return each_layer(target, "normal", b or a or 0.02)
end

--- Every number of a tensor or of all parameters from U(low, high).
---@param target forger.nn.Module|forger.Tensor
---@param low number
---@param high number
---@return forger.nn.Module|forger.Tensor target
function initialise.uniform(target, low, high)
  return weights(target, "uniform", function(t)
    t:uniform_(low, high)
  end)
end

--- Every number of a tensor or of all parameters set to value.
---@param target forger.nn.Module|forger.Tensor
---@param value number
---@return forger.nn.Module|forger.Tensor target
function initialise.constant(target, value)
  return weights(target, "constant", function(t)
    t:fill_(value)
  end)
end

return initialise
