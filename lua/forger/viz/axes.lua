--- Axes: nice ticks, linear and logarithmic scales, labels, grid lines. Pure Lua.
local words = require "forger.words"

local axes = {}

local INK, GRID, FRAME = "#333333", "#e6e6e6", "#8a8a8a"

local function decimals(step)
  local d = 0
  while d < 10 and math.abs(step * 10 ^ d - math.floor(step * 10 ^ d + 0.5)) > 1e-6 do
    d = d + 1
  end
  return d
end

--- A tick's label: plain digits, thousands as "10k" from 10,000 on, powers of ten beyond 1e7 and below 1e-4.
---@param value number
---@param step number distance of the ticks, which fixes the decimals
---@return string
function axes.label(value, step)
  local size = math.abs(value)
  if size >= 1e7 or (size > 0 and step < 1e-4) then
    return (words.number("%.3g", value):gsub("e%+?(%-?)0*", "e%1"))
  end
  if step >= 1000 and math.abs(step / 1000 - math.floor(step / 1000 + 0.5)) < 1e-9 and size >= 1000 then
    return words.number("%.0f", value / 1000) .. "k"
  end
  return words.number("%." .. decimals(step) .. "f", value)
end

--- Ticks at 1, 2 or 5 times a power of ten that cover [lo, hi] with about `count` of them.
---@param lo number
---@param hi number
---@param count integer
---@return number[] values
---@return number step
function axes.ticks(lo, hi, count)
  local rough = (hi - lo) / math.max(1, count)
  local power = 10 ^ math.floor(math.log(rough, 10))
  local step = 10 * power
  for _, m in ipairs { 1, 2, 5 } do
    if m * power >= rough * 0.999999 then
      step = m * power
      break
    end
  end
  local values = {}
  for i = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9) do
    values[#values + 1] = i * step
  end
  return values, step
end

--- Ticks of a logarithmic axis: powers of ten, with 2 and 5 between them when there are few.
function axes.log_ticks(lo, hi)
  local values = {}
  local first, last = math.floor(math.log(lo, 10) - 1e-9), math.ceil(math.log(hi, 10) + 1e-9)
  local between = last - first <= 3 and { 1, 2, 5 } or { 1 }
  local stride = math.max(1, math.ceil((last - first) / 8))
  for e = first, last, stride do
    for _, m in ipairs(between) do
      local v = m * 10.0 ^ e
      if v >= lo * 0.999999 and v <= hi * 1.000001 then
        values[#values + 1] = v
      end
    end
  end
  return values
end

--- A scale maps data to pixels.
---@param lo number
---@param hi number
---@param from number pixel of lo
---@param to number pixel of hi
---@param log boolean?
function axes.scale(lo, hi, from, to, log)
  if log then
    lo, hi = math.log(lo), math.log(hi)
  end
  local factor = (to - from) / (hi - lo)
  return function(v)
    if log then
      if v <= 0 then
        return nil
      end
      v = math.log(v)
    end
    return from + (v - lo) * factor
  end
end

--- Widens a range so that data never touches the frame; a range without width gets one.
function axes.widen(lo, hi, share, log)
  if lo > hi or lo ~= lo or hi ~= hi then
    return log and 0.1 or 0, 1
  elseif log then
    local f = math.max((hi / lo) ^ share, 1.05)
    return lo / f, hi * f
  elseif hi - lo < 1e-12 * math.max(1, math.abs(hi)) then
    local d = math.abs(lo) > 0 and math.abs(lo) * 0.1 or 1
    return lo - d, hi + d
  end
  local d = (hi - lo) * share
  return lo - d, hi + d
end

--- Draws frame, grid, ticks, labels and title; returns the plotting box and both scales.
--- spec: title, x_label, y_label, x_range {lo, hi}, y_range {lo, hi}, log_y, legend (list of { name, color, shape }).
---@param svg forger.viz.Svg
---@param box {x: number, y: number, w: number, h: number} the panel
---@param spec table
---@return {x: number, y: number, w: number, h: number} inner
---@return fun(v: number): number? sx
---@return fun(v: number): number? sy
function axes.draw(svg, box, spec)
  local x_lo, x_hi = spec.x_range[1], spec.x_range[2]
  local y_lo, y_hi = spec.y_range[1], spec.y_range[2]
  local y_ticks, y_step
  if spec.log_y then
    y_ticks = axes.log_ticks(y_lo, y_hi)
  else
    y_ticks, y_step = axes.ticks(y_lo, y_hi, math.max(2, box.h / 60))
  end
  local y_texts, widest = {}, 0
  for i, v in ipairs(y_ticks) do
    y_texts[i] = axes.label(v, y_step or v)
    widest = math.max(widest, #y_texts[i])
  end
  local left = 18 + widest * 7.2 + (spec.y_label and 18 or 0)
  local top = (spec.title and 26 or 8) + (spec.legend and #spec.legend > 0 and 20 or 0) + 6
  local bottom = 26 + (spec.x_label and 20 or 0)
  local inner = { x = box.x + left, y = box.y + top, w = box.w - left - 18, h = box.h - top - bottom }
  if spec.square then
    local size = math.min(inner.w, inner.h)
    inner.x = inner.x + (inner.w - size) / 2
    inner.w, inner.h = size, size
  end
  local sx = axes.scale(x_lo, x_hi, inner.x, inner.x + inner.w)
  local sy = axes.scale(y_lo, y_hi, inner.y + inner.h, inner.y, spec.log_y)
  local x_ticks, x_step = axes.ticks(x_lo, x_hi, math.max(2, inner.w / 90))

  if not spec.no_grid then
    for _, v in ipairs(x_ticks) do
      svg:line(sx(v), inner.y, sx(v), inner.y + inner.h, { stroke = GRID })
    end
    for _, v in ipairs(y_ticks) do
      svg:line(inner.x, sy(v), inner.x + inner.w, sy(v), { stroke = GRID })
    end
  end
  for _, v in ipairs(x_ticks) do
    svg:line(sx(v), inner.y + inner.h, sx(v), inner.y + inner.h + 4, { stroke = FRAME })
    svg:text(sx(v), inner.y + inner.h + 18, axes.label(v, x_step), { anchor = "middle", color = INK })
  end
  for i, v in ipairs(y_ticks) do
    svg:line(inner.x - 4, sy(v), inner.x, sy(v), { stroke = FRAME })
    svg:text(inner.x - 8, sy(v) + 4, y_texts[i], { anchor = "end", color = INK })
  end
  local baseline = box.y + 20
  if spec.title then
    svg:text(inner.x, baseline, spec.title, { size = 15, weight = "bold", color = "#222222" })
    baseline = baseline + 22
  end
  if spec.x_label then
    svg:text(inner.x + inner.w / 2, inner.y + inner.h + 38, spec.x_label, { anchor = "middle", color = INK })
  end
  if spec.y_label then
    svg:text(inner.x - 8 - widest * 7.2 - 12, inner.y + inner.h / 2, spec.y_label, { anchor = "middle", color = INK, rotate = -90 })
  end
  local x = inner.x
  for _, entry in ipairs(spec.legend or {}) do
    if entry.shape == "box" then
      svg:rect(x, baseline - 9, 14, 10, { fill = entry.color, fill_opacity = 0.55, stroke = entry.color })
    elseif entry.shape == "dot" then
      svg:circle(x + 7, baseline - 4, 4, { fill = entry.color })
    else
      svg:line(x, baseline - 4, x + 16, baseline - 4, { stroke = entry.color, width = 2.5, dash = entry.dash })
    end
    svg:text(x + 22, baseline, entry.name, { color = INK })
    x = x + 22 + #entry.name * 7.3 + 18
  end
  return inner, sx, sy
end

--- The frame, drawn last so that it lies over the data.
function axes.frame(svg, inner)
  svg:rect(inner.x, inner.y, inner.w, inner.h, { fill = "none", stroke = FRAME })
end

return axes
