--- Forger: train generative adversarial networks from Lua 5.4.
---
---     local fg = require "forger"
---     local x = fg.randn(64, 100)
---     print(x:mean():item())
---
--- Everything hangs on this table: tensors and ops here, `fg.nn`, `fg.optim`, `fg.data`, `fg.gan`, `fg.viz`, `fg.metrics`,
--- `fg.train`, `fg.cli` and `fg.image` in modules that load on first use. `fg.help "Conv2d"` prints a reference entry.
---@class forger
local fg = {}

local _, path = ...
local core = require "forger.core"
if type(path) == "string" and path:find("init%.lua$") then
  core.set_library("@" .. path:gsub("init%.lua$", "")) -- errors point past our own files, at the caller
end
local words = require "forger.words"

fg.VERSION = core.VERSION
fg.version = core.VERSION

for _, name in ipairs(words.sorted_keys(core.ops)) do
  fg[name] = core.ops[name]
end
for _, name in ipairs {
  "tensor", "zeros", "ones", "full", "eye", "arange", "linspace", "rand", "randn", "randperm", "randint", "equal", "is_tensor",
  "grad", "no_grad", "enable_grad", "set_grad_enabled", "grad_enabled", "scope", "manual_seed", "initial_seed", "random_below",
  "set_threads", "get_threads", "set_precision", "get_precision", "set_fast_conv", "get_fast_conv", "isa", "cpu", "memory",
  "memory_reset_peak", "memory_trim", "interrupted", "save", "load", "json",
} do
  fg[name] = core[name]
end

--- Reads an IDX file (MNIST's format, plain or gzip-compressed).
---@type fun(path: string): forger.Tensor?, string?
fg.idx = core.idx_load

local losses = require "forger.tensor"
for _, name in ipairs(words.sorted_keys(losses)) do
  fg[name] = losses[name]
end

-- Rooms that load on first use, so that `require "forger"` stays fast.
local rooms = {
  nn = "forger.nn", optim = "forger.optim", image = "forger.image", data = "forger.data", gan = "forger.gan",
  viz = "forger.viz", metrics = "forger.metrics", train = "forger.train", cli = "forger.cli",
}

--- Prints the reference entry of a public name: fg.help "Conv2d", fg.help "sum"; without a name the list of all.
---@param name string?
---@return nil
function fg.help(name)
  return require("forger.help").show(name)
end

return setmetatable(fg, {
  __index = function(self, key)
    local room = rooms[key]
    if not room then
      return nil
    end
    local module = require(room)
    rawset(self, key, module)
    return module
  end,
})
