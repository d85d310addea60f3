--- What a step of training is measured by. All of it is taken from tensors the step has computed anyway.
local fg = require "forger"

local readouts = {}

--- Mean of D's outputs and the share above a threshold.
---@param logits forger.Tensor
---@param threshold number logit above which D says "real"
---@param probability boolean mean of the sigmoid instead of the raw mean
---@return number mean
---@return number share above the threshold
function readouts.scores(logits, threshold, probability)
  local values = logits:reshape(-1):totable()
  local total, above = 0, 0
  local exp = math.exp
  for i = 1, #values do
    local v = values[i]
    total = total + (probability and 1 / (1 + exp(-v)) or v)
    if v > threshold then
      above = above + 1
    end
  end
  return total / #values, above / #values
end

-- Mean distance of all pairs among rows of x[N,F], from the table of products: |a - b|^2 = aa + bb - 2 ab.
local function mean_distance(x)
  local n = x:size(1)
  x = x - x:mean(1, true) -- the differences stay, the cancellation shrinks
  local squares = x:square():sum(2, true)
  local d2 = squares + squares:transpose() - x:matmul(x, { tb = true }) * 2
  local total = d2:relu():sqrt():sum():item()
  return n > 1 and total / (n * (n - 1)) or 0
end

--- Mean pairwise distance among fakes over that among reals, Euclidean over all pixels, of up to 64 samples each: 1 means
--- as varied as the data, near 0 means that G makes one picture (mode collapse). Blur lowers it a little too.
---@param real forger.Tensor [N,...]
---@param fake forger.Tensor [N,...]
---@return number
function readouts.diversity(real, fake)
  return fg.no_grad(function()
    local function rows(t)
      local n = math.min(64, t:size(1))
      t = t:detach()
      return (n < t:size(1) and t:slice(1, 1, n) or t):reshape(n, -1)
    end
    local reals = mean_distance(rows(real))
    return reals > 0 and mean_distance(rows(fake)) / reals or 0 / 0
  end)
end

--- The L2 norm of all gradients of a list of parameters together.
---@param parameters forger.Tensor[]
---@return number norm NaN or infinite when any component is
function readouts.grad_norm(parameters)
  return fg.optim.grad_norm(parameters)
end

--- The first parameter whose gradient (or value) is not finite.
---@param module forger.nn.Module
---@return string? name
---@return string? what "gradient" or "value"
function readouts.find_nonfinite(module)
  local function bad(t)
    local s = t:abs():sum():item()
    return s ~= s or s == math.huge
  end
  return fg.no_grad(function()
    for name, p in module:named_parameters() do
      if bad(p) then
        return name, "value"
      end
    end
    for name, p in module:named_parameters() do
      if p.grad and bad(p.grad) then
        return name, "gradient"
      end
    end
    return nil
  end)
end

return readouts
