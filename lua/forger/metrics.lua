--- Measures of what a generator makes.
local metrics = {}

local judge = require "forger.metrics.judge"

metrics.judge = judge
metrics.accuracy = judge.accuracy
metrics.confidence = judge.confidence

return metrics
