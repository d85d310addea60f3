--- nn.Sequential: a chain of modules and plain functions, called one after the other.
---
--- Neighbouring built-in layers that the C core can compute in one op (a linear, convolution or norm layer and the activation
--- behind it) are fused when called; the elements, their names and the summary stay as they are.
local core = require "forger.core"
local module = require "forger.nn.module"
local leaf = require "forger.nn.leaf"
local Module, tracing = module.Module, module.tracing
local leaf_forward, forward_fused = leaf.forward, leaf.forward_fused

---@class forger.nn.Sequential: forger.nn.Module
local Sequential = Module:extend("Sequential")

local function check(i, value)
  if module.is_module(value) or type(value) == "function" then
    return value
  end
  return core.raise(string.format("Sequential: element %d is a %s; modules and functions are expected", i, type(value)))
end

--- nn.Sequential { a, b, c } or nn.Sequential(a, b, c)
function Sequential:init(...)
  local first = ...
  local list = { ... }
  if select("#", ...) == 1 and type(first) == "table" and not module.is_module(first) then
    list = first
  end
  rawset(self, "_args", nil)
  for i = 1, select("#", ...) == 1 and #list or select("#", ...) do
    self[i] = check(i, list[i])
  end
end

function Sequential:__newindex(key, value)
  if math.type(key) == "integer" then
    if key ~= rawlen(self) + 1 then
      core.raise(string.format("Sequential: element %d cannot be set: there are %d", key, rawlen(self)))
    end
    check(key, value)
  end
  Module.__newindex(self, key, value)
end

--- Adds an element at the end and returns self.
---@param value forger.nn.Module|function
---@return forger.nn.Sequential self
function Sequential:append(value)
  self[rawlen(self) + 1] = value
  return self
end

local kinds = {} -- class -> "fuses", "activation" or "leaf"
for _, class in ipairs(leaf.classes) do
  kinds[class] = class.info.activation and "activation" or class.info.fuses and "fuses" or "leaf"
end

-- A tensor that a built-in leaf made and only a built-in leaf reads is let go at once: what gradients need of it, the graph
-- holds, and frees on its way back, instead of at the end of the scope.
function Sequential:forward(x)
  local i, n, own = 1, rawlen(self), false
  while i <= n do
    local m = self[i]
    local before, y = x
    local builtin = kinds[getmetatable(m)] and m.forward == leaf_forward and not tracing.hook
    if builtin then
      local behind = i < n and kinds[getmetatable(m)] == "fuses" and self[i + 1]
      if behind and kinds[getmetatable(behind)] == "activation" and behind.forward == leaf_forward then
        y = forward_fused(m, behind, x)
        i = i + 1
      else
        y = leaf_forward(m, x)
      end
      if own and y ~= before then
        before:free()
      end
      own = own or y ~= before
    else
      y, own = m(x), false
    end
    x = y
    i = i + 1
  end
  return x
end

-- All at once where the elements are built-in layers and functions, which is most often so.
function Sequential:freeze_own(on)
  return core.layers_freeze(self, on) and #rawget(self, "_keys") == 0 or Module.freeze_own(self, on)
end

function Sequential:describe_functions(lines, indent)
  for i = 1, rawlen(self) do
    if type(self[i]) == "function" then
      table.insert(lines, i + 1, indent .. "  (" .. i .. "): a function")
    end
  end
end

return { Sequential = Sequential }
