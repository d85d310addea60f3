--- A folder of PNG pictures as a data set: shorter side resized to `size`, centre cropped, one tensor of bytes.
local core = require "forger.core"
local fg = require "forger"
local words = require "forger.words"

local image_folder = {}

-- Up to this many bytes the pictures are decoded once and kept; a larger folder is decoded batch by batch.
local KEEP_BYTES = 1024 * 1024 * 1024

local function is_png(name)
  return name:lower():match("%.png$") ~= nil
end

-- PNG files of the folder, or of its subfolders, whose sorted names then number the classes. All sorted by name.
local function list(dir)
  local names, message = core.list_dir(dir)
  if not names then
    return nil, message
  end
  local paths, labels, classes = {}, {}, {}
  for _, name in ipairs(names) do
    if is_png(name) then
      paths[#paths + 1] = dir .. "/" .. name
      labels[#labels + 1] = 0
    end
  end
  if #paths > 0 then
    return paths
  end
  for _, name in ipairs(names) do
    local sub = dir .. "/" .. name
    if name:sub(1, 1) ~= "." and core.is_dir(sub) then
      classes[#classes + 1] = name
      local inside, inside_message = core.list_dir(sub)
      if not inside then
        return nil, inside_message
      end
      for _, file in ipairs(inside) do
        if is_png(file) then
          paths[#paths + 1] = sub .. "/" .. file
          labels[#labels + 1] = #classes - 1
        end
      end
    end
  end
  if #paths == 0 then
    return nil, dir .. ": no PNG files there"
  end
  return paths, labels, classes
end

-- One picture as u8 [size,size,channels].
local function read(path, size, channels)
  local image, message = fg.image.read_png(path, { channels = channels })
  if not image then
    return nil, message
  end
  local h, w = image:size(1), image:size(2)
  if h ~= size or w ~= size then
    local scale = size / math.min(h, w)
    image = fg.image.resize(image, math.max(size, math.floor(h * scale + 0.5)), math.max(size, math.floor(w * scale + 0.5)))
    image = fg.image.center_crop(image, size, size)
  end
  return image
end

---@class forger.data.LazyImages
local LazyImages = {}
LazyImages.__index = LazyImages
LazyImages.__len = function(self)
  return #self.paths
end

function LazyImages:batch(ids)
  local images = {}
  for i, id in ipairs(ids) do
    local image, message = read(self.paths[id], self.side, self.channels)
    if not image then
      error(message, 0)
    end
    images[i] = image
  end
  local x = fg.stack(images):to("f32"):affine(self.scale, self.shift)
  return x, self.labels and fg.gather(self.labels, ids) or nil
end

--- The PNG files of a folder. Subfolders, if the folder itself holds no PNG, are classes in the order of their names.
---
--- options: size (side in pixels, 64); channels (1, 3 or 4; default 3; transparent pixels are shown on white); range
--- (what 0 and 255 become, {-1, 1}); keep (decode once and keep all bytes; default: up to 1 GB).
---@param dir string
---@param options {size: integer, channels: integer, range: number[], keep: boolean}?
---@return table? set batches are x [N,size,size,channels] f32 and, with classes, y [N] i32
---@return string? message names the file that is damaged
function image_folder.load(dir, options)
  options = words.check_options("data.image_folder", options, { "size", "channels", "range", "keep" })
  local size, channels = options.size or 64, options.channels or 3
  local paths, labels, classes = list(dir)
  if not paths then
    return nil, labels
  end
  labels = classes and fg.tensor(labels, { dtype = "i32" }) or nil
  local keep = options.keep
  if keep == nil then
    keep = #paths * size * size * channels <= KEEP_BYTES
  end
  local set
  if keep then
    local all = fg.zeros { #paths, size, size, channels, dtype = "u8" }
    for i, path in ipairs(paths) do
      local image, message = read(path, size, channels)
      if not image then
        return nil, message
      end
      all[i] = image
      image:free()
    end
    set = require("forger.data").ImageSet(all, labels, { range = options.range })
  else
    local range = options.range or { -1, 1 }
    set = setmetatable({
      paths = paths, side = size, channels = channels, labels = labels,
      scale = (range[2] - range[1]) / 255, shift = range[1],
    }, LazyImages)
  end
  set.folder, set.classes, set.paths = dir, classes, paths
  return set
end

return image_folder
