--- What training loops share: the progress line, the run folder, learning-rate schedules.
local train = {}

local progress = require "forger.train.progress"

--- A progress line, see forger.train.progress.
train.progress = progress.new

--- Opens the folder of a run, see forger.train.run_folder. Needs the core.
---@param path string
---@return forger.train.RunFolder
function train.run_folder(path)
  return require("forger.train.run_folder").open(path)
end

--- The first of PATH, PATH-2, PATH-3, ... that does not exist yet.
---@param path string
---@return string
function train.next_free(path)
  return require("forger.train.run_folder").next_free(path)
end

train.schedules = {}

--- Factor of the learning rate: 1 until share `from` of the run, then straight down to `to` at its end.
---@param options {from: number, to: number} from 0..1 of the steps, to: the last factor
---@return fun(step: integer, steps: integer): number step counts from 0
function train.schedules.linear(options)
  local from, to = options.from or 0, options.to or 0
  return function(step, steps)
    local t = (step / steps - from) / (1 - from)
    return t <= 0 and 1 or 1 + (to - 1) * math.min(1, t)
  end
end

--- Factor of the learning rate: half a cosine from 1 down to `to`, after share `from` of the run.
---@param options {from: number, to: number}
---@return fun(step: integer, steps: integer): number
function train.schedules.cosine(options)
  local from, to = options.from or 0, options.to or 0
  return function(step, steps)
    local t = math.max(0, math.min(1, (step / steps - from) / (1 - from)))
    return to + (1 - to) * 0.5 * (1 + math.cos(math.pi * t))
  end
end

return train
