--- Minibatches of a data set, shuffled from the "data" stream, resumable in the middle of an epoch.
local core = require "forger.core"
local words = require "forger.words"

---@class forger.data.Loader
local Loader = {}
Loader.__index = Loader
Loader.__len = function(self)
  return self.batches
end

local STREAM = "data"

--- A loader over a data set.
---
--- options: batch (items a minibatch, 1); shuffle (true: a new order each epoch); drop_last (true: the last, smaller
--- minibatch is left out); replacement (false; true draws every item anew, with replacement).
---@param dataset any something with `#set` and `set:batch(ids)`
---@param options {batch: integer, shuffle: boolean, drop_last: boolean, replacement: boolean}?
---@return forger.data.Loader
local function new(dataset, options)
  options = words.check_options("data.Loader", options, { "batch", "shuffle", "drop_last", "replacement" })
  local batch = math.tointeger(options.batch or 1)
  if not batch or batch < 1 then
    error("data.Loader: batch must be a whole number of at least 1, got " .. tostring(options.batch), 2)
  end
  local size = #dataset
  local drop_last = options.drop_last ~= false
  if size == 0 then
    error("data.Loader: the data set is empty", 2)
  elseif drop_last and size < batch and not options.replacement then
    error("data.Loader: " .. size .. " items do not fill one minibatch of " .. batch
      .. ": lower batch or set drop_last = false", 2)
  end
  local self = setmetatable({
    dataset = dataset, batch = batch, size = size, shuffle = options.shuffle ~= false, drop_last = drop_last,
    replacement = options.replacement or false, position = 0, epochs = 0,
  }, Loader)
  if self.replacement or drop_last then
    self.batches = math.max(1, math.floor(size / batch))
  else
    self.batches = math.ceil(size / batch)
  end
  return self
end

-- Starts an epoch: notes where the stream stands, so that the order can be drawn again after a resume.
local function begin(self)
  self.position = 0
  if not self.replacement and self.shuffle then
    self.origin = core.stream_get(STREAM)
    self.order = core.randperm(self.size, { stream = STREAM }):totable()
  end
end

local function fetch(self)
  local ids = {}
  if self.replacement then
    for i = 1, self.batch do
      ids[i] = core.random_below(self.size, { stream = STREAM }) + 1
    end
  else
    local first = self.position * self.batch
    for i = 1, math.min(self.batch, self.size - first) do
      ids[i] = self.order and self.order[first + i] + 1 or first + i
    end
  end
  self.position = self.position + 1
  if self.position >= self.batches then
    self.epochs = self.epochs + 1
    self.finished = true
  end
  return self.dataset:batch(ids)
end

--- An iterator over one epoch, for `for x, y in loader:epoch() do`. Leaving the loop early is safe: the next call
--- starts a fresh epoch. Right after load_state_dict the first call goes on where the saved one stood.
---@return fun(): forger.Tensor?, forger.Tensor?
function Loader:epoch()
  if self.resumed then
    self.resumed = nil
  else
    begin(self)
  end
  self.finished = false
  self.active = true
  return function()
    if self.finished or self.position >= self.batches then
      self.active = false
      return nil
    end
    return fetch(self)
  end
end

--- The next minibatch; after the last one of an epoch the next epoch begins.
---@return forger.Tensor x
---@return forger.Tensor? y
function Loader:next()
  if not self.active or self.position >= self.batches then
    if not self.resumed then
      begin(self)
    end
    self.resumed = nil
    self.active = true
    self.finished = false
  end
  return fetch(self)
end

--- Where the loader stands, as plain data. The place of the "data" stream itself belongs to the program's state.
---@return table
function Loader:state_dict()
  local state = { position = self.position, epochs = self.epochs, size = self.size, batch = self.batch, active = self.active or false }
  if self.origin then
    state.origin = { key = string.format("%016x", self.origin.key), offset = self.origin.offset } -- JSON holds 53 bits
  end
  return state
end

--- Goes back to a saved place; the next call of `next` or `epoch` continues from there. The stream's own place is
--- left as it is.
---@param state table
function Loader:load_state_dict(state)
  if state.size ~= self.size or state.batch ~= self.batch then
    error("Loader:load_state_dict: saved for " .. tostring(state.size) .. " items in batches of " .. tostring(state.batch)
      .. ", this loader has " .. self.size .. " in batches of " .. self.batch, 2)
  end
  self.epochs, self.position = state.epochs, state.position
  self.active, self.finished = false, false
  self.resumed = state.active and state.position < self.batches or nil
  if state.origin and self.resumed then
    local now = core.stream_get(STREAM)
    self.origin = { key = math.tointeger(tonumber(state.origin.key, 16)), offset = state.origin.offset }
    core.stream_set(STREAM, self.origin)
    self.order = core.randperm(self.size, { stream = STREAM }):totable()
    core.stream_set(STREAM, now)
  end
end

return new
