--- fg.optim: optimizers over lists of parameters, learning-rate schedules, gradient clipping, averages of weights.
---
---     local opt = optim.Adam(G:parameters(), { lr = 2e-4, betas = { 0.5, 0.999 } })
---     loss:backward(); opt:step(); opt:zero_grad()
---
--- Gradients add up until zero_grad; called right after step, it gives their memory to the next forward pass.
--- Option names and defaults are PyTorch's. A parameter without .grad is skipped.
local core = require "forger.core"
local raise = core.raise
---@class forger.optim
local optim = {}

---@class forger.Optimizer
---@field lr number the base rate, readable and writable
---@field steps integer updates so far
local Optimizer = {}

local function number(kind, options, name, default)
  local v = options[name]
  if v == nil then
    return default
  elseif type(v) ~= "number" then
    raise(string.format("%s: '%s' is a number, got %s", kind, name, type(v)))
  end
  return v + 0.0
end

--- Updates every parameter from its .grad.
function Optimizer:step()
  core.optimizer_step(self.handle)
end

--- Forgets the gradients of the parameters.
function Optimizer:zero_grad()
  core.optimizer_zero_grad(self.handle)
end

--- The base learning rate (before lr_decay).
---@return number
function Optimizer:get_lr()
  return core.optimizer_lr(self.handle)
end

--- Sets the base learning rate; allowed between any two steps.
---@param lr number
function Optimizer:set_lr(lr)
  core.optimizer_set_lr(self.handle, lr)
end

--- Everything that a resumed run needs: { kind =, lr =, steps =, state = { name = tensor } }. The tensors are live.
---@return table
function Optimizer:state_dict()
  local names, tensors = core.optimizer_state(self.handle)
  local state = {}
  for i, name in ipairs(names) do
    state[name] = tensors[i]
  end
  return { kind = self.kind, lr = self.lr, steps = self.steps, state = state }
end

--- Takes over what state_dict gave (tensors are copied); all names and shapes must agree.
---@param dict table
---@return forger.Optimizer self
function Optimizer:load_state_dict(dict)
  if type(dict) ~= "table" or type(dict.state) ~= "table" then
    raise("load_state_dict: what an optimizer's state_dict() gave expected")
  end
  if dict.kind ~= self.kind then
    raise(string.format("load_state_dict: the state is of %s, this optimizer is %s", tostring(dict.kind), self.kind))
  end
  local names, tensors = core.optimizer_state(self.handle)
  for i, name in ipairs(names) do
    local v = dict.state[name]
    if not core.is_tensor(v) then
      raise(string.format("load_state_dict: '%s' is missing", name))
    elseif table.concat(v.shape, ",") ~= table.concat(tensors[i].shape, ",") then
      raise(string.format("load_state_dict: '%s' is [%s], expected [%s]", name, table.concat(v.shape, ","),
        table.concat(tensors[i].shape, ",")))
    end
  end
  core.no_grad(function()
    for i, name in ipairs(names) do
      tensors[i]:copy_(dict.state[name])
    end
  end)
  core.optimizer_set_lr(self.handle, dict.lr)
  core.optimizer_set_steps(self.handle, dict.steps)
  return self
end

local metatable = {
  __name = "forger.Optimizer",
  __index = function(self, key)
    if key == "lr" then
      return core.optimizer_lr(self.handle)
    elseif key == "steps" then
      return core.optimizer_steps(self.handle)
    end
    return Optimizer[key]
  end,
  __newindex = function(self, key, value)
    if key == "lr" then
      core.optimizer_set_lr(self.handle, value)
    elseif key == "steps" then
      raise("optimizer: 'steps' is read only")
    else
      rawset(self, key, value)
    end
  end,
}

function metatable:__tostring()
  return string.format("%s(lr %g, %d parameters, %d steps)", self.kind, self.lr, #self.params, self.steps)
end

local function parameters(kind, params)
  if type(params) == "table" and type(params.parameters) == "function" then
    params = params:parameters()
  end
  if type(params) ~= "table" then
    raise(kind .. ": a list of parameters expected, as in " .. kind .. "(net:parameters(), { lr = 1e-3 }), got " .. type(params))
  end
  return params
end

local function make(kind, handle_kind, params, options)
  local self = { kind = kind, params = params, handle = core.optimizer(handle_kind, params, options) }
  return setmetatable(self, metatable)
end

--- Stochastic gradient descent. options: lr (1e-3), momentum, dampening, weight_decay, nesterov, lr_decay.
---@param params forger.Tensor[]|forger.nn.Module
---@param options {lr: number?, momentum: number?, dampening: number?, weight_decay: number?, nesterov: boolean?, lr_decay: number?}?
---@return forger.Optimizer
function optim.SGD(params, options)
  params = parameters("SGD", params)
  local o = core.check_options("SGD", options, "lr", "momentum", "dampening", "weight_decay", "nesterov", "lr_decay")
  return make("SGD", "SGD", params, {
    lr = number("SGD", o, "lr", 1e-3), momentum = number("SGD", o, "momentum", 0), dampening = number("SGD", o, "dampening", 0),
    weight_decay = number("SGD", o, "weight_decay", 0), nesterov = o.nesterov or false, lr_decay = number("SGD", o, "lr_decay", 0),
  })
end

--- RMSprop. options: lr (1e-2), alpha (0.99), eps (1e-8, outside the root; eps_inside = true is Keras 3), momentum, weight_decay,
--- lr_decay (lr / (1 + lr_decay t), Keras 2's decay).
---@param params forger.Tensor[]|forger.nn.Module
---@param options table?
---@return forger.Optimizer
function optim.RMSprop(params, options)
  params = parameters("RMSprop", params)
  local o = core.check_options("RMSprop", options, "lr", "alpha", "eps", "momentum", "weight_decay", "eps_inside", "lr_decay")
  return make("RMSprop", "RMSprop", params, {
    lr = number("RMSprop", o, "lr", 1e-2), alpha = number("RMSprop", o, "alpha", 0.99), eps = number("RMSprop", o, "eps", 1e-8),
    momentum = number("RMSprop", o, "momentum", 0), weight_decay = number("RMSprop", o, "weight_decay", 0),
    eps_inside = o.eps_inside or false, lr_decay = number("RMSprop", o, "lr_decay", 0),
  })
end

local function adam(kind, params, options, weight_decay)
  params = parameters(kind, params)
  local o = core.check_options(kind, options, "lr", "betas", "eps", "weight_decay", "lr_decay")
  local betas = o.betas or { 0.9, 0.999 }
  if type(betas) ~= "table" or type(betas[1]) ~= "number" or type(betas[2]) ~= "number" or betas[3] ~= nil then
    raise(kind .. ": 'betas' is a pair of numbers like { 0.5, 0.999 }")
  end
  return make(kind, "Adam", params, {
    lr = number(kind, o, "lr", 1e-3), beta1 = betas[1], beta2 = betas[2], has_betas = true, eps = number(kind, o, "eps", 1e-8),
    weight_decay = number(kind, o, "weight_decay", weight_decay), decoupled = kind == "AdamW",
    lr_decay = number(kind, o, "lr_decay", 0),
  })
end

--- Adam (Kingma and Ba 2015), eps after bias correction. options: lr (1e-3), betas ({0.9, 0.999}), eps (1e-8), weight_decay,
--- lr_decay.
---@param params forger.Tensor[]|forger.nn.Module
---@param options {lr: number?, betas: number[]?, eps: number?, weight_decay: number?, lr_decay: number?}?
---@return forger.Optimizer
function optim.Adam(params, options)
  return adam("Adam", params, options, 0)
end

--- Adam with decoupled weight decay (default 0.01; Loshchilov and Hutter 2019); options as Adam's.
---@param params forger.Tensor[]|forger.nn.Module
---@param options {lr: number?, betas: number[]?, eps: number?, weight_decay: number?, lr_decay: number?}?
---@return forger.Optimizer
function optim.AdamW(params, options)
  return adam("AdamW", params, options, 0.01)
end

-- ---------------------------------------------------------------- gradients
--- Scales all gradients so that their common Euclidean norm is at most max_norm. Returns the norm before; when that is not
--- finite nothing is scaled and a message that names the parameter follows.
---@param params forger.Tensor[]|forger.nn.Module
---@param max_norm number above 0
---@return number norm, string? message
function optim.clip_grad_norm(params, max_norm)
  local positive = type(max_norm) == "number" and max_norm > 0
  if not positive then
    raise("clip_grad_norm: a norm above 0 expected, got " .. tostring(max_norm))
  end
  return core.clip_grad_norm(parameters("clip_grad_norm", params), max_norm)
end

--- Euclidean norm of all gradients; a parameter without one counts as 0. Followed by a message when it is not finite.
---@param params forger.Tensor[]|forger.nn.Module
---@return number norm, string? message
function optim.grad_norm(params)
  return core.clip_grad_norm(parameters("grad_norm", params), 0)
end

-- ---------------------------------------------------------------- averages of weights
---@class forger.optim.EMA
local EMA = {}
EMA.__index = EMA

--- Exponential moving average of parameters: e = d e + (1-d) p with d = min(decay, (1+t)/(10+t)), or plain decay with
--- { warmup = false }. It keeps shadow tensors; the network is not touched.
---@param params forger.Tensor[]|forger.nn.Module
---@param options {decay: number?, warmup: boolean?}?
---@return forger.optim.EMA
function optim.EMA(params, options)
  params = parameters("EMA", params)
  local o = core.check_options("EMA", options, "decay", "warmup")
  local handle = core.ema(params, number("EMA", o, "decay", 0.999), o.warmup ~= false)
  return setmetatable({ handle = handle, params = params }, EMA)
end

--- Moves the average towards the parameters; call it after each step.
function EMA:update()
  core.ema_step(self.handle)
end

--- The averaged tensors, in the parameters' order.
---@return forger.Tensor[]
function EMA:shadows()
  return core.ema_shadows(self.handle)
end

--- Copies the averages into parameters of the same shapes: a clone of the network, usually.
---@param params forger.Tensor[]|forger.nn.Module
function EMA:copy_to(params)
  params = parameters("copy_to", params)
  local shadows = self:shadows()
  if #params ~= #shadows then
    raise(string.format("copy_to: %d parameters, the average has %d", #params, #shadows))
  end
  core.no_grad(function()
    for i, p in ipairs(params) do
      p:copy_(shadows[i])
    end
  end)
end

--- Updates so far.
---@return integer
function EMA:updates()
  return core.ema_updates(self.handle)
end

--- { updates =, shadows = { tensors } }, live.
---@return table
function EMA:state_dict()
  return { updates = self:updates(), shadows = self:shadows() }
end

--- Takes over what state_dict gave.
---@param dict table
function EMA:load_state_dict(dict)
  local shadows = self:shadows()
  if type(dict) ~= "table" or type(dict.shadows) ~= "table" or #dict.shadows ~= #shadows then
    raise(string.format("load_state_dict: the state of an average over %d tensors expected", #shadows))
  end
  core.no_grad(function()
    for i, t in ipairs(shadows) do
      t:copy_(dict.shadows[i])
    end
  end)
  core.ema_set_updates(self.handle, dict.updates)
end

--- One step of an average between two lists in one call: targets[i] = decay targets[i] + (1-decay) sources[i].
---@param targets forger.Tensor[]|forger.nn.Module
---@param sources forger.Tensor[]|forger.nn.Module
---@param decay number 0..1
function optim.ema_update(targets, sources, decay)
  core.ema_update(parameters("ema_update", targets), parameters("ema_update", sources), decay)
end

-- ---------------------------------------------------------------- schedules
---@class forger.optim.Schedule
local Schedule = {}
Schedule.__index = Schedule

local function schedule(name, opt, rate)
  if type(opt) ~= "table" or not opt.set_lr then
    raise(name .. ": an optimizer expected, got " .. type(opt))
  end
  return setmetatable({ opt = opt, base = opt:get_lr(), count = 0, rate = rate }, Schedule)
end

--- Counts one step and sets the optimizer's rate for the next one. Call it after opt:step().
---@return number lr
function Schedule:step()
  self.count = self.count + 1
  local lr = self.rate(self.base, self.count)
  self.opt:set_lr(lr)
  return lr
end

--- Where the schedule stands, for resuming.
---@return table
function Schedule:state_dict()
  return { base = self.base, count = self.count }
end

--- Takes over what state_dict gave and sets the optimizer's rate.
---@param dict table
function Schedule:load_state_dict(dict)
  self.base, self.count = dict.base, dict.count
  self.opt:set_lr(self.rate(self.base, self.count))
end

local function count_of(name, o, key)
  local v = math.tointeger(o[key])
  if not v or v < 0 then
    raise(string.format("%s: '%s' is a number of steps, got %s", name, key, tostring(o[key])))
  end
  return v
end

--- The rate stays until step `start` (default 0), then falls in a line to rate * final (default 0) at step `total`.
---@param opt forger.Optimizer
---@param options {total: integer, start: integer?, final: number?}
---@return forger.optim.Schedule
function optim.LinearDecay(opt, options)
  local o = core.check_options("LinearDecay", options, "total", "start", "final")
  local total, start = count_of("LinearDecay", o, "total"), o.start and count_of("LinearDecay", o, "start") or 0
  local final = number("LinearDecay", o, "final", 0)
  return schedule("LinearDecay", opt, function(base, step)
    return core.lr_linear(base, step, start, total, final)
  end)
end

--- The rate falls along half a cosine to rate * final (default 0) at step `total` (Loshchilov and Hutter 2017).
---@param opt forger.Optimizer
---@param options {total: integer, final: number?}
---@return forger.optim.Schedule
function optim.Cosine(opt, options)
  local o = core.check_options("Cosine", options, "total", "final")
  local total, final = count_of("Cosine", o, "total"), number("Cosine", o, "final", 0)
  return schedule("Cosine", opt, function(base, step)
    return core.lr_cosine(base, step, total, final)
  end)
end

return optim
