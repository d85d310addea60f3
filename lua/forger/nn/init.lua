--- fg.nn: layers, Sequential, your own modules, initialisers, saving.
---
---     local G = nn.Sequential { nn.Linear(100, 256), nn.ReLU(), nn.Linear(256, 784), nn.Tanh() }
---     local y = G(fg.randn(64, 100))
---
---     local Block = nn.Module:extend("Block")
---     function Block:init(channels) self.conv = nn.Conv2d(channels, channels, 3, { padding = "same" }) end
---     function Block:forward(x) return x + self.conv(x):relu() end
---@class forger.nn
local nn = {}

local core = require "forger.core"
local module = require "forger.nn.module"
local leaf = require "forger.nn.leaf"
local sequential = require "forger.nn.sequential"
local model_file = require "forger.nn.model_file"

nn.Module = module.Module
nn.Sequential = sequential.Sequential
for _, class in ipairs(leaf.classes) do
  nn[class.class] = class
  model_file.register(class.class, class)
end
model_file.register("Sequential", nn.Sequential)

--- Makes a class of modules known to nn.load under a name.
---@type fun(name: string, class: forger.nn.Module)
nn.register = model_file.register

--- Rebuilds the network that `net:save(path)` wrote, with its weights, in eval mode off (as saved: training).
---@type fun(path: string): forger.nn.Module?, string|table
nn.load = model_file.load

--- Table of a network's layers, output shapes and parameter counts for an input of the given shape.
---@param net forger.nn.Module
---@param shape integer[]
---@return string
function nn.summary(net, shape)
  return require("forger.nn.summary").text(net, shape)
end

--- Marks a tensor as a parameter: returns it with requires_grad set. Assign it to a field of a module.
---@param t forger.Tensor
---@return forger.Tensor
function nn.Parameter(t)
  if not core.is_tensor(t) then
    core.raise("Parameter: a tensor expected, got " .. type(t))
  end
  return t:requires_grad_()
end

return setmetatable(nn, {
  __index = function(self, key)
    if key == "init" then
      local initialise = require "forger.nn.initialise"
      rawset(self, "init", initialise)
      return initialise
    end
    return nil
  end,
})
