--- A judge of digit pictures: a small convolutional classifier, trained once on the real ones. A sample that it
--- recognises with p >= 0.9 counts as a digit; dividing by the share of real test digits that pass takes the judge's
--- own doubts out. The network and its training are those of examples/mnist_classifier.lua.
local fg = require "forger"
local core = require "forger.core"
local words = require "forger.words"

local judge = {}

local CHUNK = 200
judge.SEED = 1
judge.EPOCHS = 4
judge.BATCH = 128
judge.LR = 2e-3

--- The network: [N,28,28,1] in [-1,1] to logits [N,10].
---@return forger.nn.Module
function judge.network()
  local nn = fg.nn
  return nn.Sequential {
    nn.Conv2d(1, 16, 5, { padding = 2, bias = false }), nn.BatchNorm(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 5, { padding = 2, bias = false }), nn.BatchNorm(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(7 * 7 * 32, 128), nn.ReLU(), nn.Dropout(0.4),
    nn.Linear(128, 10),
  }
end

--- Trains a network on a labelled set: cross-entropy, Adam, the rate falling linearly to zero.
---
--- options: epochs (4), batch (128), lr (2e-3), on_batch = f(done, total, loss) after each minibatch; returning false
--- from it stops.
---@param net forger.nn.Module
---@param set any data set of x, y
---@param options table?
---@return boolean finished
function judge.train(net, set, options)
  options = words.check_options("judge.train", options, { "epochs", "batch", "lr", "on_batch" })
  local epochs, lr = options.epochs or judge.EPOCHS, options.lr or judge.LR
  local loader = fg.data.Loader(set, { batch = options.batch or judge.BATCH })
  local opt = fg.optim.Adam(net:parameters(), { lr = lr })
  local total, done = epochs * #loader, 0
  net:train()
  for _ = 1, epochs do
    for x, y in loader:epoch() do
      opt.lr = lr * (1 - done / total)
      local value
      fg.scope(function()
        local loss = fg.cross_entropy(net(x), y):mean()
        opt:zero_grad()
        loss:backward()
        opt:step()
        value = loss:item()
        x:free()
      end)
      done = done + 1
      if options.on_batch and options.on_batch(done, total, value) == false then
        return false
      end
    end
  end
  net:eval()
  return true
end

-- Calls f(logits, first, last) for the rows of a set in order, in eval mode, without a graph.
local function each_chunk(net, count, fetch, f)
  local was_training = net.training
  net:eval()
  for first = 1, count, CHUNK do
    local last = math.min(count, first + CHUNK - 1)
    fg.scope(function()
      fg.no_grad(function()
        local x, y = fetch(first, last)
        f(net(x), y)
      end)
    end)
  end
  if was_training then
    net:train()
  end
end

local function from_set(set)
  return function(first, last)
    local ids = {}
    for i = first, last do
      ids[#ids + 1] = i
    end
    return set:batch(ids)
  end
end

--- Share of a labelled set that a classifier gets right.
---@param net forger.nn.Module
---@param set any
---@return number share 0..1
function judge.accuracy(net, set)
  local right = 0
  each_chunk(net, #set, from_set(set), function(logits, y)
    right = right + logits:argmax(2):eq(y):to("f32"):sum():item()
  end)
  return right / #set
end

--- What a classifier thinks of pictures: the share it is sure of, and how the classes are spread.
---@param net forger.nn.Module
---@param pictures any a data set, or a tensor [N,...] in the range the classifier was trained on
---@param least number? "sure" is a probability of at least this (0.9)
---@return {sure: number, shares: number[]} sure 0..1; shares[k] of class k-1 among all pictures
function judge.confidence(net, pictures, least)
  least = least or 0.9
  local fetch = not fg.is_tensor(pictures) and from_set(pictures) or function(first, last)
    return pictures:slice(1, first, last)
  end
  local count, sure, shares = #pictures, 0, {}
  each_chunk(net, count, fetch, function(logits)
    local top = logits:log_softmax():exp():max(2):totable()
    local class = logits:argmax(2):totable()
    for _ = #shares + 1, logits:size(2) do
      shares[#shares + 1] = 0
    end
    for i = 1, #top do
      sure = sure + (top[i] >= least and 1 or 0)
      shares[class[i] + 1] = shares[class[i] + 1] + 1
    end
  end)
  for i = 1, #shares do
    shares[i] = shares[i] / count
  end
  return { sure = sure / count, shares = shares }
end

--- The judge of a folder of MNIST files: loaded from judge.safetensors beside the data, else trained with its fixed
--- seed and stored there, or in `spare` when that folder cannot be written. Resets the random streams.
---@param folder string? folder of the data, as data.mnist takes it
---@param spare string? folder to store it in otherwise
---@param on_batch function? see judge.train
---@return forger.nn.Module? net
---@return string? message
function judge.get(folder, spare, on_batch)
  local set, message = fg.data.mnist(folder)
  if not set then
    return nil, message
  end
  local places = { set.folder .. "/judge.safetensors" }
  if spare then
    places[2] = spare .. "/judge.safetensors"
  end
  for _, path in ipairs(places) do
    if core.exists(path) then
      local net, why = fg.nn.load(path)
      if not net then
        return nil, why
      end
      net:eval()
      return net
    end
  end
  fg.manual_seed(judge.SEED)
  local net = judge.network()
  if not judge.train(net, set, { on_batch = on_batch }) then
    return nil, "interrupted!"
  end
  local ok
  for _, path in ipairs(places) do
    ok, message = net:save(path)
    if ok then
      return net
    end
  end
  return nil, message
end

return judge
