--- Losses of the game. A loss is { d = f(real, fake), g = f(fake, real) } over logits [N,1] (any shape): both return a
--- scalar to minimise. `d` is the sum of the means over the real and the fake half. Scripts may pass such a table of
--- their own to the Trainer; the fields below are what else it uses:
---
---   name           for options.json                needs_real     g looks at the real logits too
---   threshold      logit above which D says "real" d_equilibrium  D's loss when it cannot tell (plots draw it)
---   p_equilibrium  D(x) there; nil: D's output is no probability, read-outs show it raw
local fg = require "forger"
local words = require "forger.words"

local losses = {}

local LN2 = math.log(2)

-- D's half with targets that are not plainly 1 and 0. real_label smooths the real target (one-sided: Salimans et al.
-- 2016, arXiv:1606.03498); a flipped sample gets the other class's target, drawn per sample from the stream "label".
local function bce_d(options)
  local p, flip = options.real_label or 1, options.label_flip or 0
  local function target(logits, value, flipped)
    if flip == 0 then
      return value
    end
    local n = logits:size(1)
    local other = fg.rand(n, { stream = "label" }):lt(flip):to("f32")
    local shape = logits.shape
    for i = 2, #shape do
      shape[i] = 1
    end
    return other:affine(flipped - value, value):reshape(table.unpack(shape))
  end
  local function half(logits, value, flipped)
    local t = target(logits, value, flipped)
    if t == 1 then
      return (-logits):softplus():mean()
    elseif t == 0 then
      return logits:softplus():mean()
    end
    return (logits:softplus() - logits * t):mean() -- the cross-entropy of target t
  end
  return function(real, fake)
    return half(real, p, 0) + half(fake, 0, 1)
  end
end

-- D's loss where it outputs the same probability for both: the minimum over q of -(p ln q + (2 - p) ln(1 - q)).
local function bce_equilibrium(options)
  local p, flip = options.real_label or 1, options.label_flip or 0
  local real, fake = p * (1 - flip), flip
  local q = (real + fake) / 2
  return -((real + fake) * math.log(q) + (2 - real - fake) * math.log(1 - q)), q
end

local function checked(name, options, smooth)
  options = words.check_options("gan.losses." .. name, options, { "real_label", "label_flip" })
  local p, flip = options.real_label or 1, options.label_flip or 0
  if type(p) ~= "number" or not (p > 0 and p <= 1) then
    error("gan.losses." .. name .. ": real_label must be above 0 and at most 1, got " .. tostring(p), 3)
  elseif type(flip) ~= "number" or not (flip >= 0 and flip <= 0.5) then
    error("gan.losses." .. name .. ": label_flip must be between 0 and 0.5, got " .. tostring(flip), 3)
  elseif p ~= 1 and smooth == false then
    error("gan.losses." .. name .. ": real_label smooths a target, and this loss has none", 3)
  elseif flip ~= 0 and smooth ~= "bce" then
    error("gan.losses." .. name .. ": label_flip needs a loss with targets in cross-entropy form", 3)
  end
  return options
end

--- G minimises log(1 - D(G(z))): Goodfellow et al. 2014, the minimax game itself. Its gradient fades where D wins.
---@param options {real_label: number, label_flip: number}? real_label: D's target for reals (1); label_flip: share of labels swapped in D's steps
function losses.saturating(options)
  options = checked("saturating", options, "bce")
  local d_equilibrium, p_equilibrium = bce_equilibrium(options)
  return {
    name = "saturating", threshold = 0, d_equilibrium = d_equilibrium, p_equilibrium = p_equilibrium,
    d = bce_d(options),
    g = function(fake)
      return -fake:softplus():mean()
    end,
  }
end

--- G maximises log D(G(z)): the same fixed point, stronger gradients early on. G's target stays 1 whatever real_label is.
---@param options {real_label: number, label_flip: number}?
function losses.non_saturating(options)
  options = checked("non_saturating", options, "bce")
  local d_equilibrium, p_equilibrium = bce_equilibrium(options)
  return {
    name = "non_saturating", threshold = 0, d_equilibrium = d_equilibrium, p_equilibrium = p_equilibrium,
    d = bce_d(options),
    g = function(fake)
      return (-fake):softplus():mean()
    end,
  }
end

--- Least squares with targets 0 and 1, without factors 1/2 (d_reduction = "mean" gives the paper's): Mao et al. 2017,
--- arXiv:1611.04076.
---@param options {real_label: number}?
function losses.least_squares(options)
  options = checked("least_squares", options, "squares")
  local p = options.real_label or 1
  return {
    name = "least_squares", threshold = p / 2, d_equilibrium = p * p / 2,
    d = function(real, fake)
      return (real - p):square():mean() + fake:square():mean()
    end,
    g = function(fake)
      return (fake - 1):square():mean()
    end,
  }
end

--- D estimates the Wasserstein distance; it needs a gradient penalty to stay 1-Lipschitz: Arjovsky et al. 2017,
--- arXiv:1701.07875. D's loss is minus the distance.
function losses.wasserstein(options)
  checked("wasserstein", options, false)
  return {
    name = "wasserstein", threshold = 0, d_equilibrium = 0,
    d = function(real, fake)
      return fake:mean() - real:mean()
    end,
    g = function(fake)
      return -fake:mean()
    end,
  }
end

--- Hinge loss: Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018.
function losses.hinge(options)
  checked("hinge", options, false)
  return {
    name = "hinge", threshold = 0, d_equilibrium = 2,
    d = function(real, fake)
      return (1 - real):relu():mean() + (1 + fake):relu():mean()
    end,
    g = function(fake)
      return -fake:mean()
    end,
  }
end

--- Each real is compared with one fake: R3GAN (Huang et al. 2024, arXiv:2501.05441) after Jolicoeur-Martineau 2018.
--- One term, not two halves; d_reduction = "mean" halves it all the same.
function losses.relativistic_paired(options)
  checked("relativistic_paired", options, false)
  return {
    name = "relativistic_paired", threshold = 0, d_equilibrium = LN2, needs_real = true,
    d = function(real, fake)
      return (fake - real):softplus():mean()
    end,
    g = function(fake, real)
      return (real - fake):softplus():mean()
    end,
  }
end

--- Each sample is compared with the average of the other kind: Jolicoeur-Martineau 2018, arXiv:1807.00734.
function losses.relativistic_average(options)
  checked("relativistic_average", options, false)
  return {
    name = "relativistic_average", threshold = 0, d_equilibrium = 2 * LN2, needs_real = true,
    d = function(real, fake)
      return (fake:mean() - real):softplus():mean() + (fake - real:mean()):softplus():mean()
    end,
    g = function(fake, real)
      return (real:mean() - fake):softplus():mean() + (real - fake:mean()):softplus():mean()
    end,
  }
end

--- Names of the built-in losses, in the order of the help texts.
losses.names = {
  "non_saturating", "saturating", "least_squares", "wasserstein", "hinge", "relativistic_paired", "relativistic_average",
}

--- A loss by name, or a checked one of the user's.
---@param loss string|table
---@param options {real_label: number, label_flip: number}? for a loss by name
---@return table
function losses.make(loss, options)
  if type(loss) == "string" then
    words.check_choice("gan.losses", "loss", loss, losses.names)
    return losses[loss](options)
  elseif type(loss) ~= "table" or type(loss.d) ~= "function" or type(loss.g) ~= "function" then
    error("gan.losses: a loss is a name or a table { d = function(real, fake), g = function(fake, real) }", 2)
  end
  if options and ((options.real_label or 1) ~= 1 or (options.label_flip or 0) ~= 0) then
    error("gan.losses: real_label and label_flip belong to the built-in losses; put them into your own d", 2)
  end
  return {
    name = loss.name or "custom", d = loss.d, g = loss.g, threshold = loss.threshold or 0, needs_real = loss.needs_real ~= false,
    d_equilibrium = loss.d_equilibrium, p_equilibrium = loss.p_equilibrium,
  }
end

return losses
