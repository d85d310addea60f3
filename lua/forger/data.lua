--- Data sets and loaders.
---
---     local digits = assert(data.mnist())                       -- #digits == 60000
---     local loader = data.Loader(digits, { batch = 64 })
---     for x, y in loader:epoch() do ... end                     -- x [64,28,28,1] in [-1,1], y i32 [64], 0-based
---
--- A data set is anything with `#set` and `set:batch(ids)`, ids a Lua array of 1-based positions; `batch` gives one or
--- more tensors whose first axis is #ids. Reading files returns nil and a message; a set that fails while it is being
--- read from raises.
local fg = require "forger"
local words = require "forger.words"

local data = {}

data.Loader = require("forger.data.loader")
data.mnist = require("forger.data.mnist").load
data.mnist_folder = require("forger.data.mnist").find
data.image_folder = require("forger.data.image_folder").load

--- Reads one IDX file, the format of MNIST (plain or .gz).
---@param path string
---@return forger.Tensor? values u8, i32 or f32 by the file's type
---@return string? message
function data.idx(path)
  return fg.idx(path)
end

---@class forger.data.TensorDataset
local TensorDataset = {}
TensorDataset.__index = TensorDataset
TensorDataset.__len = function(self)
  return self.size
end

--- A set over tensors that share their first axis: item i is row i of each.
---@param ... forger.Tensor
---@return forger.data.TensorDataset
function data.TensorDataset(...)
  local tensors = { ... }
  if #tensors == 0 then
    error("data.TensorDataset: needs at least one tensor", 2)
  end
  for i, t in ipairs(tensors) do
    if t:size(1) ~= tensors[1]:size(1) then
      error("data.TensorDataset: tensor " .. i .. " has " .. t:size(1) .. " rows, tensor 1 has " .. tensors[1]:size(1), 2)
    end
  end
  return setmetatable({ tensors = tensors, size = tensors[1]:size(1) }, TensorDataset)
end

--- The rows at the given places, one tensor for each of the set's.
---@param ids integer[] 1-based positions
---@return forger.Tensor ...
function TensorDataset:batch(ids)
  local out = {}
  for i, t in ipairs(self.tensors) do
    out[i] = fg.gather(t, ids)
  end
  return table.unpack(out)
end

---@class forger.data.ImageSet
---@field images forger.Tensor u8 [N,H,W,C]
---@field labels forger.Tensor? i32 [N], 0-based
local ImageSet = {}
ImageSet.__index = ImageSet
ImageSet.__len = function(self)
  return self.size
end

--- A set of byte images, turned into floats batch by batch. options.range: what 0 and 255 become, default {-1, 1}.
---@param images forger.Tensor u8 [N,H,W,C]
---@param labels forger.Tensor? i32 or u8 [N]
---@param options {range: number[]}?
---@return forger.data.ImageSet
function data.ImageSet(images, labels, options)
  options = words.check_options("data.ImageSet", options, { "range" })
  if images.dtype ~= "u8" or images.ndim ~= 4 then
    error("data.ImageSet: images must be u8 [N,H,W,C], got " .. images.dtype .. " of rank " .. images.ndim, 2)
  elseif labels and labels:size(1) ~= images:size(1) then
    error("data.ImageSet: " .. images:size(1) .. " images but " .. labels:size(1) .. " labels", 2)
  end
  local range = options.range or { -1, 1 }
  return setmetatable({
    images = images, labels = labels and labels:to("i32"), size = images:size(1), range = range,
    scale = (range[2] - range[1]) / 255, shift = range[1],
  }, ImageSet)
end

--- Images as f32 [#ids,H,W,C] in the set's range, and the labels if the set has any.
---@param ids integer[] 1-based positions
---@return forger.Tensor x
---@return forger.Tensor? y i32 [#ids]
function ImageSet:batch(ids)
  local x = fg.gather(self.images, ids):to("f32"):affine(self.scale, self.shift)
  return x, self.labels and fg.gather(self.labels, ids) or nil
end

return data
