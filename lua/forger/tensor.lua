--- Tensor methods that are formulas of other ops, and losses reduced to their mean. The methods written in C (and one for each
--- op) are in the same table; `fg.help` lists all of them. Returns the functions that belong to `fg` itself.
local core = require "forger.core"
local ops, methods, raise = core.ops, core.methods, core.raise

local function axis_of(t, axis, what)
  local n = t.ndim
  local at = math.type(axis) == "integer" and axis or math.tointeger(axis)
  if at and at < 0 then
    at = n + 1 + at
  end
  if not at or at < 1 or at > n then
    raise(string.format("%s: axis %s is out of range 1..%d", what, tostring(axis), n))
  end
  return at
end

--- Softmax over the last axis.
---@param self forger.Tensor
---@return forger.Tensor
function methods.softmax(self)
  return self:log_softmax():exp()
end

--- Variance over axes (all when absent), divided by n (PyTorch's `correction = 0`).
---@param self forger.Tensor
---@param axis integer|integer[]|nil
---@param keepdim boolean?
---@return forger.Tensor
function methods.var(self, axis, keepdim)
  local centred = self - self:mean(axis, true)
  return centred:square():mean(axis, keepdim)
end

--- Standard deviation: the root of `var`.
---@param self forger.Tensor
---@param axis integer|integer[]|nil
---@param keepdim boolean?
---@return forger.Tensor
function methods.std(self, axis, keepdim)
  return self:var(axis, keepdim):sqrt()
end

--- Euclidean norm over axes (all when absent).
---@param self forger.Tensor
---@param axis integer|integer[]|nil
---@param keepdim boolean?
---@return forger.Tensor
function methods.norm(self, axis, keepdim)
  return self:square():sum(axis, keepdim):sqrt()
end

--- A view with axes first..-1 joined into one; first defaults to 2, so that [N,H,W,C] becomes [N,H*W*C].
---@param self forger.Tensor
---@param first integer?
---@return forger.Tensor
function methods.flatten(self, first)
  if self.ndim == 0 then
    return self:reshape(1)
  end
  first = axis_of(self, first or math.min(2, self.ndim), "flatten")
  local shape, product = {}, 1
  for i, n in ipairs(self.shape) do
    if i < first then
      shape[i] = n
    else
      product = product * n
    end
  end
  shape[first] = product
  return self:reshape(shape)
end

--- A view without axes of size 1 (all of them, or the one given).
---@param self forger.Tensor
---@param axis integer?
---@return forger.Tensor
function methods.squeeze(self, axis)
  local only, shape = axis and axis_of(self, axis, "squeeze"), {}
  for i, n in ipairs(self.shape) do
    if n ~= 1 or (only and i ~= only) then
      shape[#shape + 1] = n
    end
  end
  return self:reshape(shape)
end

--- A view with a new axis of size 1 at the given place.
---@param self forger.Tensor
---@param axis integer
---@return forger.Tensor
function methods.unsqueeze(self, axis)
  local n, shape = self.ndim, self.shape
  local at = math.tointeger(axis)
  at = at and at < 0 and n + 2 + at or at
  if not at or at < 1 or at > n + 1 then
    raise(string.format("unsqueeze: axis %s is out of range 1..%d", tostring(axis), n + 1))
  end
  table.insert(shape, at, 1)
  return self:reshape(shape)
end

--- Same as reshape.
methods.view = methods.reshape
--- Same as transpose with a list: the axes in their new order.
---@param self forger.Tensor
---@return forger.Tensor
function methods.permute(self, ...)
  local first = ...
  return self:transpose(type(first) == "table" and first or { ... })
end
--- Repeats axes of size 1 without copying meaning: same as broadcast_to.
methods.expand = methods.broadcast_to

-- ---------------------------------------------------------------- losses
local functions = {}

local function reduce(name, y, reduction)
  if reduction == nil or reduction == "mean" then
    return y:mean()
  elseif reduction == "sum" then
    return y:sum()
  elseif reduction == "none" then
    return y
  end
  return core.unknown(name, "reduction", tostring(reduction), { "mean", "sum", "none" })
end

--- Binary cross-entropy from logits (any real number): softplus(x) - x * target. The target is a tensor or a number such as 1 or 0.9.
---@param logits forger.Tensor
---@param target forger.Tensor|number
---@param reduction "mean"|"sum"|"none"|nil
---@return forger.Tensor
function functions.bce_with_logits(logits, target, reduction)
  return reduce("bce_with_logits", ops.bce_logits(logits, target), reduction)
end

--- Binary cross-entropy from probabilities, clamped to [1e-7, 1-1e-7] with zero gradient outside.
---@param p forger.Tensor
---@param target forger.Tensor|number
---@param reduction "mean"|"sum"|"none"|nil
---@return forger.Tensor
function functions.binary_cross_entropy(p, target, reduction)
  return reduce("binary_cross_entropy", ops.bce(p, target), reduction)
end

--- Mean squared error.
---@param x forger.Tensor
---@param target forger.Tensor|number
---@param reduction "mean"|"sum"|"none"|nil
---@return forger.Tensor
function functions.mse_loss(x, target, reduction)
  return reduce("mse_loss", (x - target):square(), reduction)
end

--- Mean absolute error.
---@param x forger.Tensor
---@param target forger.Tensor|number
---@param reduction "mean"|"sum"|"none"|nil
---@return forger.Tensor
function functions.l1_loss(x, target, reduction)
  return reduce("l1_loss", (x - target):abs(), reduction)
end

--- Cross-entropy of logits [N,K] with 0-based labels [N] (i32 or u8), reduced; `fg.cross_entropy` gives one number per row.
---@param logits forger.Tensor
---@param labels forger.Tensor
---@param reduction "mean"|"sum"|"none"|nil
---@return forger.Tensor
function functions.cross_entropy_loss(logits, labels, reduction)
  return reduce("cross_entropy_loss", ops.cross_entropy(logits, labels), reduction)
end

for _, name in ipairs { "softmax", "var", "std", "norm", "flatten", "squeeze", "unsqueeze", "permute", "clone" } do
  functions[name] = methods[name]
end

return functions
