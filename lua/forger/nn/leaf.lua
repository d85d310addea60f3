--- Built-in layers: each class of layers.def as a class of modules around a C layer. The C side knows shapes, parameters and
--- arithmetic; the table here knows the mode and the place in the network.
local core = require "forger.core"
local module = require "forger.nn.module"
local Module = module.Module
local layer_forward, layer_get, layer_set, raise = core.layer_forward, core.layer_get, core.layer_set, core.raise

---@class forger.nn.Leaf: forger.nn.Module
local Leaf = Module:extend("Leaf")

--- Fields of a leaf: methods of its class, then parameters, buffers and options of the C layer (conv.weight, bn.momentum).
function Leaf.make_index(class)
  return function(self, key)
    local value = class[key]
    if value ~= nil then
      return value
    end
    local layer = rawget(self, "_layer")
    if layer then
      return layer_get(layer, key)
    end
  end
end

function Leaf:__newindex(key, value)
  local layer = rawget(self, "_layer")
  if layer and type(key) == "string" and layer_set(layer, key, value) then
    return
  end
  Module.__newindex(self, key, value)
end

function Leaf:init(...)
  rawset(self, "_layer", core.layer(self.kind, ...))
  rawset(self, "_args", nil)
end

local function failed(self, message)
  local where = module.place(self)
  raise((where ~= "" and where .. " " or "") .. self:describe() .. ": " .. message)
end

function Leaf:forward(x)
  local y, message = layer_forward(self._layer, x, self.training)
  if y then
    return y
  end
  return failed(self, message)
end

--- This layer and the activation behind it in one op (Sequential calls it).
local function forward_fused(self, activation, x)
  local y, message = layer_forward(self._layer, x, self.training, activation._layer)
  if y then
    return y
  end
  return failed(self, message)
end

function Leaf:each_own_tensor(fn)
  core.layer_each(rawget(self, "_layer"), fn)
  Module.each_own_tensor(self, fn)
end

function Leaf:freeze_own(on)
  core.layer_freeze(rawget(self, "_layer"), on)
  return #rawget(self, "_keys") == 0 or Module.freeze_own(self, on) -- fields of the user's
end

function Leaf:clone_shell()
  local twin = Module.clone_shell(self)
  local init = core.stream_get("init")
  rawset(twin, "_layer", core.layer(self.kind, self:config()))
  core.stream_set("init", init)
  core.layer_each(self._layer, function(name, t, is_parameter)
    local copy = core.layer_get(twin._layer, name)
    core.no_grad(copy.copy_, copy, t)
    if is_parameter then
      copy.requires_grad = t.requires_grad
    end
  end)
  return twin
end

--- All options by name.
function Leaf:config()
  local _, values = core.layer_config(self._layer)
  return values
end

local function literal(value)
  if type(value) == "table" then
    local parts = {}
    for i, v in ipairs(value) do
      parts[i] = literal(v)
    end
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif type(value) == "number" then
    return math.type(value) == "integer" and tostring(value) or string.format("%.6g", value)
  end
  return type(value) == "string" and string.format("%q", value) or tostring(value)
end

--- "Conv2d(1, 32, 4, { stride = 2, padding = 1 })": as it would be written, without options that have their default.
function Leaf:describe()
  local names, values = core.layer_config(self._layer)
  local info, positional, named = self.info, {}, {}
  for i, name in ipairs(names) do
    local text = literal(values[name])
    if i <= info.positional and (#positional == i - 1) then
      if values[name] ~= nil and (info.required[name] or text ~= literal(info.defaults[name])) then
        if name == "shape" then
          text = text:sub(2, -2)
        end
        positional[i] = text
      end
    elseif values[name] ~= nil and text ~= literal(info.defaults[name]) then
      named[#named + 1] = name .. " = " .. text
    end
  end
  if #named > 0 then
    positional[#positional + 1] = "{ " .. table.concat(named, ", ") .. " }"
  end
  return self.class .. "(" .. table.concat(positional, ", ") .. ")"
end

local classes = {}
for _, info in ipairs(core.layer_kinds) do
  local class = Leaf:extend(info.kind)
  class.kind, class.info = info.kind, info
  classes[#classes + 1] = class
end

return { Leaf = Leaf, classes = classes, forward = Leaf.forward, forward_fused = forward_fused }
