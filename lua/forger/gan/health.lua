--- Says in plain words when training has gone wrong. Pure Lua over the read-outs of each step.
local words = require "forger.words"

---@class forger.gan.Health
local Health = {}
Health.__index = Health

local MEMORY = 100 -- steps that a judgement looks back, about
local PATIENCE = 300 -- steps before the first judgement

---@param loss table a loss of gan.losses
---@return forger.gan.Health
local function new(loss)
  return setmetatable({ loss = loss, steps = 0, said = {}, mean = {} }, Health)
end

--- Takes a step's record and gives a warning back, each kind once a run.
---@param record table read-outs of the step
---@return string? warning
function Health:check(record)
  self.steps = self.steps + 1
  local share = math.max(1 / MEMORY, 1 / self.steps)
  for _, key in ipairs { "acc_real", "acc_fake", "d_fake", "g_loss", "diversity" } do
    local v = record[key]
    if v and v == v then
      self.mean[key] = self.mean[key] and self.mean[key] + share * (v - self.mean[key]) or v
    end
  end
  local m = self.mean
  if self.steps < PATIENCE then
    if self.steps == MEMORY then
      self.early_g = m.g_loss
    end
    return nil
  end
  if self.loss.p_equilibrium and not self.said.won and m.acc_real > 0.99 and m.acc_fake > 0.99 and m.d_fake < 0.02
    and m.g_loss > self.early_g then
    self.said.won = true
    return "D has won: it knows every fake (D(G(z)) " .. words.number("%.3f", m.d_fake) .. ") and G's loss rises ("
      .. words.number("%.2f", m.g_loss) .. "). Try a smoothed real label (0.9), a lower rate for D, or R1."
  end
  if m.diversity and not self.said.collapse and m.diversity < 0.3 then
    self.said.collapse = true
    return "the fakes vary only " .. words.number("%.2f", m.diversity)
      .. " times as much as the data: G makes nearly one picture (mode collapse). Try R1, a lower rate for G, or another seed."
  end
  return nil
end

return { new = new }
