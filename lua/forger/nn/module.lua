--- The one module system: every network, built-in layer or your own, is a table of class nn.Module.
---
--- A module remembers its fields in the order of their first assignment, so that parameters have the same order in every run.
--- Modules, lists of modules and parameters (tensors that required a gradient when assigned) among the fields are found by
--- parameters(), state_dict(), train() and the rest; nothing needs to be declared.
local core = require "forger.core"
local is_tensor, raise = core.is_tensor, core.raise

---@class forger.nn.Module
---@field class string name of the class
---@field training boolean mode, read at every call
local Module = { class = "Module" }
Module.__index = Module

local parents = setmetatable({}, { __mode = "k" }) -- child -> { parent =, key = }: names places in messages
local tracing = { hook = false } -- nn.summary sets hook: a function called after every module call

local function is_module(value)
  local class = type(value) == "table" and getmetatable(value)
  return class and class.is_forger_module or false
end
Module.is_forger_module = true

local function is_list(value)
  return type(value) == "table" and getmetatable(value) == nil and is_module(value[1])
end

local function adopt(self, key, value)
  if is_module(value) then
    parents[value] = { parent = self, key = key }
  elseif is_list(value) then
    for i, child in ipairs(value) do
      parents[child] = { parent = self, key = key .. "[" .. i .. "]" }
    end
  end
end

local function assign(self, key, value)
  local keys = rawget(self, "_keys")
  if keys and type(key) == "string" and not keys[key] then
    keys[#keys + 1] = key
    keys[key] = true
  end
  adopt(self, key, value)
  if keys and is_tensor(value) and value.requires_grad then
    rawget(self, "_params")[key] = true
  end
  rawset(self, key, value)
end
Module.__newindex = assign

local events = { "__call", "__newindex", "__tostring", "__len", "__name" }

--- Makes a subclass. The constructor `Block(...)` calls `Block.init(self, ...)`.
---@param name string
---@return forger.nn.Module class
function Module:extend(name)
  if type(name) ~= "string" then
    raise("Module:extend: the name of the class expected, got " .. type(name))
  end
  local class = { class = name }
  for _, event in ipairs(events) do
    class[event] = rawget(self, event)
  end
  class.__index = self.make_index and self.make_index(class) or class
  return setmetatable(class, { __index = self, __call = self.construct })
end

--- Builds an instance: fields that every module has, then init with the arguments.
function Module.construct(class, ...)
  local self = setmetatable({ training = true, _keys = { training = true }, _params = {}, _args = table.pack(...) }, class)
  self:init(...)
  return self
end

--- Constructor of the class; yours sets the layers as fields.
function Module:init() end

--- What the module computes; every class defines its own.
function Module:forward()
  raise(self.class .. ": this class has no forward(self, x)")
end

function Module:__call(...)
  if tracing.hook then
    return tracing.hook(self, ...)
  end
  return self:forward(...)
end

-- ---------------------------------------------------------------- walking
-- Training steps walk whole networks (freeze, unfreeze), so walks make no tables and no closure per module: functions that are
-- called for each field or child get what they need as arguments behind it.

--- Calls fn(key, value, a, b, c) for the elements 1..n, then for the fields in order of first assignment.
local function each_field(self, fn, a, b, c)
  for i = 1, rawlen(self) do
    fn(i, rawget(self, i), a, b, c)
  end
  local keys = rawget(self, "_keys")
  for i = 1, #keys do
    local key = keys[i]
    fn(key, rawget(self, key), a, b, c)
  end
end

local function look_for_children(key, value, fn, a, b)
  if type(value) ~= "table" then
    return
  elseif is_module(value) then
    fn(key, value, a, b)
  elseif is_list(value) then
    for i, child in ipairs(value) do
      fn(key .. "." .. i, child, a, b)
    end
  end
end

--- Calls fn(name, child, a, b) for the direct children in order; the name of an element is its number.
local function each_child(self, fn, a, b)
  each_field(self, look_for_children, fn, a, b)
end

--- Children in order: a list of { name =, module = }.
local function children_of(self)
  local list = {}
  each_child(self, function(name, child)
    list[#list + 1] = { name = tostring(name), module = child }
  end)
  return list
end

local function look_for_tensor(key, value, self, fn)
  if is_tensor(value) then
    local params, buffers = rawget(self, "_params"), rawget(self, "_buffers")
    if value.requires_grad then
      params[key] = true
    end
    if params[key] or (buffers and buffers[key]) then
      fn(tostring(key), value, params[key] or false)
    end
  end
end

--- Own tensors of one module: fn(name, tensor, is_parameter). Leaves replace this.
function Module:each_own_tensor(fn)
  each_field(self, look_for_tensor, self, fn)
end

--- fn(name, tensor, is_parameter) over the whole tree; a tensor or module that occurs twice counts once. `nameless` spares
--- the making of names: they are then false.
local function each_tensor(self, fn, nameless)
  local seen, prefix = {}, ""
  local function own(name, t, is_parameter)
    if not seen[t] then
      seen[t] = true
      fn(not nameless and prefix .. name, t, is_parameter)
    end
  end
  local function walk(name, m)
    if seen[m] then
      return
    end
    seen[m] = true
    local outer = prefix
    if name and not nameless then
      prefix = outer .. name .. "."
    end
    m:each_own_tensor(own)
    each_child(m, walk)
    prefix = outer
  end
  walk(nil, self)
end

local function iterate(list)
  local i = 0
  return function()
    i = i + 1
    if list[i] then
      return list[i][1], list[i][2]
    end
  end
end

local function collect(self, parameters)
  local list = {}
  each_tensor(self, function(name, t, is_parameter)
    if is_parameter == parameters then
      list[#list + 1] = { name, t }
    end
  end)
  return list
end

--- for name, child in net:children() do: direct children in order.
function Module:children()
  local list = {}
  for i, child in ipairs(children_of(self)) do
    list[i] = { child.name, child.module }
  end
  return iterate(list)
end

--- List of this module and all below it, parents first, each once.
---@return forger.nn.Module[]
function Module:modules()
  local list, seen = {}, {}
  local function walk(_, m)
    if not seen[m] then
      seen[m] = true
      list[#list + 1] = m
      each_child(m, walk)
    end
  end
  walk(nil, self)
  return list
end

--- for name, p in net:named_parameters() do
function Module:named_parameters()
  return iterate(collect(self, true))
end

--- for name, b in net:named_buffers() do: running statistics and what register_buffer named.
function Module:named_buffers()
  return iterate(collect(self, false))
end

local function tensors(self, parameters)
  local list = {}
  each_tensor(self, function(_, t, is_parameter)
    if is_parameter == parameters then
      list[#list + 1] = t
    end
  end, true)
  return list
end

--- List of all parameters, in order.
---@return forger.Tensor[]
function Module:parameters()
  return tensors(self, true)
end

--- List of all buffers, in order.
---@return forger.Tensor[]
function Module:buffers()
  return tensors(self, false)
end

--- Sets a field that is saved with the module but not trained.
---@param name string
---@param t forger.Tensor
function Module:register_buffer(name, t)
  if not is_tensor(t) then
    raise("register_buffer: '" .. tostring(name) .. "' is no tensor")
  end
  local buffers = rawget(self, "_buffers")
  if not buffers then
    buffers = {}
    rawset(self, "_buffers", buffers)
  end
  buffers[name] = true
  self[name] = t
end

--- Number of numbers in all parameters.
---@return integer
function Module:parameter_count()
  local n = 0
  for _, p in ipairs(self:parameters()) do
    n = n + p:numel()
  end
  return n
end

-- ---------------------------------------------------------------- modes
--- Switches to training mode (batch statistics, dropout); train(false) is eval(). Does not touch requires_grad.
---@param on boolean?
---@return forger.nn.Module self
function Module:train(on)
  for _, m in ipairs(self:modules()) do
    rawset(m, "training", on ~= false)
  end
  return self
end

--- Switches to evaluation mode: running statistics, no dropout.
---@return forger.nn.Module self
function Module:eval()
  return self:train(false)
end

local function freeze(_, t, is_parameter)
  if is_parameter then
    t.requires_grad = false
  end
end

local function unfreeze(_, t, is_parameter)
  if is_parameter then
    t.requires_grad = true
  end
end

-- The parameters of one module; true if nothing is below it. Leaves replace this: they know theirs without asking every field.
function Module:freeze_own(on)
  self:each_own_tensor(on and freeze or unfreeze)
  return false
end

local function freeze_tree(_, m, on, seen)
  if not seen[m] and not m:freeze_own(on) then
    seen[m] = true
    each_child(m, freeze_tree, on, seen)
  end
end

--- Parameters ask for no gradient until unfreeze(); the mode is another matter (see train and eval).
---@return forger.nn.Module self
function Module:freeze()
  freeze_tree(nil, self, true, {})
  return self
end

--- Undoes freeze().
---@return forger.nn.Module self
function Module:unfreeze()
  freeze_tree(nil, self, false, {})
  return self
end

--- Forgets the gradients of all parameters.
---@return forger.nn.Module self
function Module:zero_grad()
  for _, p in ipairs(self:parameters()) do
    p.grad = nil
  end
  return self
end

-- ---------------------------------------------------------------- state
--- Parameters and buffers by name ("1.weight", places count from 1). They share memory with the module.
---@return table<string, forger.Tensor>
function Module:state_dict()
  local dict = {}
  each_tensor(self, function(name, t)
    dict[name] = t
  end)
  return dict
end

local function shape_text(t)
  return "[" .. table.concat(t.shape, ",") .. "]"
end

--- Copies tensors in by name; all or nothing. Raises a list of what is missing, unexpected or of another shape;
--- { strict = false } tolerates missing and unexpected names.
---@param dict table<string, forger.Tensor>
---@param options {strict: boolean?}?
---@return forger.nn.Module self
function Module:load_state_dict(dict, options)
  options = core.check_options("load_state_dict", options, "strict")
  if type(dict) ~= "table" then
    raise("load_state_dict: a table of tensors by name expected, got " .. type(dict))
  end
  local strict, problems, pairs_, known = options.strict ~= false, {}, {}, {}
  each_tensor(self, function(name, t)
    local v = dict[name]
    known[name] = true
    if v == nil then
      if strict then
        problems[#problems + 1] = "missing '" .. name .. "' " .. shape_text(t)
      end
    elseif not is_tensor(v) then
      problems[#problems + 1] = "'" .. name .. "' is no tensor"
    elseif shape_text(v) ~= shape_text(t) then
      problems[#problems + 1] = "'" .. name .. "' has shape " .. shape_text(v) .. ", the module's is " .. shape_text(t)
    else
      pairs_[#pairs_ + 1] = { t, v }
    end
  end)
  for _, name in ipairs(require("forger.words").sorted_keys(dict)) do
    if strict and not known[name] then
      problems[#problems + 1] = "unexpected '" .. tostring(name) .. "'"
    end
  end
  if #problems > 0 then
    local shown = table.concat(problems, "; ", 1, math.min(#problems, 12))
    if #problems > 12 then
      shown = shown .. string.format("; and %d more", #problems - 12)
    end
    raise("load_state_dict: " .. shown)
  end
  core.no_grad(function()
    for _, pair in ipairs(pairs_) do
      pair[1]:copy_(pair[2])
    end
  end)
  return self
end

--- A deep copy with tensors of its own, in the same mode; draws no random numbers.
---@return forger.nn.Module
function Module:clone()
  local memo = {}
  local function copy(value)
    if is_module(value) then
      if memo[value] then
        return memo[value]
      end
      local twin = value:clone_shell()
      memo[value] = twin
      each_field(value, function(key, field)
        local v = copy(field)
        rawset(twin, key, v)
        adopt(twin, key, v)
      end)
      return twin
    elseif is_list(value) then
      local list = {}
      for i, child in ipairs(value) do
        list[i] = copy(child)
      end
      return list
    elseif is_tensor(value) then
      if not memo[value] then
        local t = value:detach():clone()
        if value.requires_grad then
          t:requires_grad_()
        end
        memo[value] = t
      end
      return memo[value]
    end
    return value
  end
  return copy(self)
end

--- An instance with the same hidden fields and none of the visible ones; leaves add their layer.
function Module:clone_shell()
  local keys = { table.unpack(self._keys) }
  for _, key in ipairs(keys) do
    keys[key] = true
  end
  keys.training = true
  local params = {}
  local buffers = rawget(self, "_buffers")
  for _, key in ipairs(keys) do
    params[key] = self._params[key]
  end
  for i = 1, rawlen(self) do
    params[i] = self._params[i]
  end
  return setmetatable(
    { training = self.training, _keys = keys, _params = params, _buffers = buffers, _args = rawget(self, "_args") },
    getmetatable(self)
  )
end

--- Applies fn to every module of the tree, this one last, and returns self.
---@param fn fun(m: forger.nn.Module)
---@return forger.nn.Module self
function Module:apply(fn)
  local list = self:modules()
  for i = #list, 1, -1 do
    fn(list[i])
  end
  return self
end

-- ---------------------------------------------------------------- files
--- The constructor's arguments as a list, for model files; override it when they are not plain data.
---@return any[]
function Module:config()
  local args = rawget(self, "_args") or {}
  local list = {}
  for i = 1, args.n or #args do
    list[i] = args[i] == nil and core.json.null or args[i]
  end
  return list
end

--- Writes weights and architecture into one safetensors file; nn.load rebuilds the network. A field `latent` is kept too.
---@param path string
---@param metadata table<string, string>? more strings to keep in the file
---@return true?, string? message
function Module:save(path, metadata)
  return require("forger.nn.model_file").save(self, path, metadata)
end

--- Reads the weights alone from a file that save (or Python's safetensors) wrote.
---@param path string
---@param options {strict: boolean?}?
---@return forger.nn.Module? self, string? message
function Module:load_weights(path, options)
  local dict, message = core.load(path)
  if not dict then
    return nil, message
  end
  return self:load_state_dict(dict, options)
end

--- Draws n samples with the latent prior that the trainer stored in `latent` (see gan).
---@param n integer
---@param options table?
---@return forger.Tensor
function Module:sample(n, options)
  return require("forger.gan.latent").sample(self, n, options)
end

-- ---------------------------------------------------------------- text
--- One line that names the module, without its children.
function Module:describe()
  return self.class
end

function Module:__tostring()
  local function draw(m, indent)
    local lines = { m:describe() }
    local children = children_of(m)
    if #children > 0 then
      lines[1] = lines[1] .. "("
      for _, child in ipairs(children) do
        lines[#lines + 1] = indent .. "  (" .. child.name .. "): " .. draw(child.module, indent .. "  ")
      end
      if m.describe_functions then
        m:describe_functions(lines, indent)
      end
      lines[#lines + 1] = indent .. ")"
    end
    return table.concat(lines, "\n")
  end
  return draw(self, "")
end

--- Where a module sits: "Generator.body[3]"; "" for one without a parent.
local function place(m)
  local text, at, depth = "", parents[m], 0
  if not at then
    return ""
  end
  while at and depth < 50 do
    text = (math.type(at.key) and "[" .. at.key .. "]" or "." .. at.key) .. text
    m, depth = at.parent, depth + 1
    at = parents[m]
  end
  return m.class .. text
end

setmetatable(Module, { __call = Module.construct })

return {
  Module = Module, is_module = is_module, is_list = is_list, children_of = children_of, each_tensor = each_tensor, place = place,
  tracing = tracing, adopt = adopt,
}
