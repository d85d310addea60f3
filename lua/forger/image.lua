--- Images as u8 tensors [H,W,C]: PNG files, grids, resizing.
local core = require "forger.core"
local image = {}

local function range_of(name, range)
  if range == nil then
    return 0.0, 1.0
  end
  local lo, hi = range[1], range[2]
  local ordered = type(lo) == "number" and type(hi) == "number" and lo < hi
  if not ordered then
    core.raise(name .. ": 'range' is a pair { low, high } with low < high")
  end
  return lo, hi
end

--- Reads a PNG file as u8 [H,W,C]. options: channels (1 grey, 3 RGB, 4 RGBA; default as in the file), max_side (16384).
---@param path string
---@param options {channels: integer?, max_side: integer?}?
---@return forger.Tensor?, string? message
function image.read_png(path, options)
  options = core.check_options("read_png", options, "channels", "max_side")
  return core.png_load(path, options.channels or 0, options.max_side or 0)
end

--- Writes [H,W] or [H,W,C] (C = 1, 3, 4) as PNG. u8 goes as it is; floats map options.range (default {0, 1}) to 0..255, clamped.
---@param path string
---@param t forger.Tensor
---@param options {range: number[]?}?
---@return true?, string? message
function image.write_png(path, t, options)
  options = core.check_options("write_png", options, "range")
  return core.png_save(path, t, range_of("write_png", options.range))
end

--- Tiles images [N,H,W] or [N,H,W,C] row by row into one u8 picture. options: cols (default the root of N, rounded up),
--- pad (2 pixels), background (0..255, default 0), range of float images (default {0, 1}).
---@param images forger.Tensor
---@param options {cols: integer?, pad: integer?, background: integer?, range: number[]?}?
---@return forger.Tensor
function image.grid(images, options)
  options = core.check_options("grid", options, "cols", "pad", "background", "range")
  local lo, hi = range_of("grid", options.range)
  return core.image_grid(images, options.cols or 0, options.pad or 2, options.background or 0, lo, hi)
end

--- Resizes u8 [H,W,C] to h x w pixels, antialiased as Pillow's bilinear filter; w defaults to h.
---@type fun(image: forger.Tensor, h: integer, w: integer?): forger.Tensor
image.resize = core.image_resize

--- The middle h x w pixels; w defaults to h.
---@type fun(image: forger.Tensor, h: integer, w: integer?): forger.Tensor
image.center_crop = core.image_center_crop

return image
