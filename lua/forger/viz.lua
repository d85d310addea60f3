--- Plots as SVG files: lines, histograms, scatter plots and heat maps, alone or several to a figure.
---
---     viz.save("losses.svg", viz.lines {
---       title = "Losses", x_label = "step", series = { { name = "D", y = d_losses }, { name = "G", y = g_losses } },
---       level = { y = 2 * math.log(2), name = "equilibrium 2 ln 2" },
---     })
---
--- Each maker returns a panel; `viz.render` lays panels out. Output depends on the data alone: the same numbers
--- give the same bytes. NaN leaves a gap. Pure Lua but for `viz.save`.
local words = require "forger.words"
local svg_writer = require "forger.viz.svg"
local axes = require "forger.viz.axes"

local viz = {}

-- Colours told apart by readers with any colour vision (after Okabe and Ito).
viz.colors = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555" }

local function finite(v)
  return type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge
end

local function color_of(item, i)
  return item.color or viz.colors[(i - 1) % #viz.colors + 1]
end

local function quantile(sorted, q)
  return sorted[math.max(1, math.min(#sorted, math.floor(q * (#sorted - 1) + 1.5)))]
end

--- Exponential moving average with bias correction; NaN and infinities are skipped and stay gaps.
---@param y number[]
---@param beta number weight of the past, 0..1
---@return number[]
function viz.smooth(y, beta)
  local out, average, weight = {}, 0, 0
  for i = 1, #y do
    local v = y[i]
    if finite(v) then
      average = beta * average + (1 - beta) * v
      weight = beta * weight + (1 - beta)
      out[i] = average / weight
    else
      out[i] = 0 / 0
    end
  end
  return out
end

-- On a logarithmic axis the average is that of the logarithms: what the eye sees.
local function smooth_on_axis(y, beta, log)
  if not log then
    return viz.smooth(y, beta)
  end
  local logs = {}
  for i = 1, #y do
    logs[i] = finite(y[i]) and y[i] > 0 and math.log(y[i]) or 0 / 0
  end
  local out = viz.smooth(logs, beta)
  for i = 1, #out do
    out[i] = math.exp(out[i])
  end
  return out
end

-- A line through (x, y) with at most `columns` buckets, each drawn from its lowest to its highest value.
local function polyline(svg, x, y, sx, sy, columns, style)
  local commands, pen = {}, false
  local per = math.max(1, math.ceil(#y / columns))
  local function put(px, py)
    commands[#commands + 1] = pen and "L" or "M"
    commands[#commands + 1] = px
    commands[#commands + 1] = py
    pen = true
  end
  for first = 1, #y, per do
    local lo, hi, lo_at, hi_at
    local gap = false
    for i = first, math.min(#y, first + per - 1) do
      local v = y[i]
      if finite(v) and sy(v) then
        if not lo or v < lo then
          lo, lo_at = v, i
        end
        if not hi or v > hi then
          hi, hi_at = v, i
        end
      else
        gap = true
      end
    end
    if gap and not lo then
      pen = false
    end
    if lo then
      local a, b = lo_at, hi_at
      if a > b then
        a, b = b, a
      end
      put(sx(x[a]), sy(y[a]))
      if b > a then
        put(sx(x[b]), sy(y[b]))
      end
      if gap then
        pen = false
      end
    end
  end
  if #commands > 0 then
    svg:path(commands, style)
  end
end

--- Lines over a common x axis.
--- spec: series = { { name, y, x?, color?, dash?, smooth? } }; title, x_label, y_label; log_y; x_range, y_range;
--- level = { y, name } or a list of such: horizontal dashed lines; smooth: weight of the past for every series
--- (0 draws the raw values only; by default chosen from the number of points). The raw values stay behind, faint.
---@param spec table
---@return table panel
function viz.lines(spec)
  words.check_options("viz.lines", spec,
    { "series", "title", "x_label", "y_label", "log_y", "x_range", "y_range", "level", "smooth" })
  local panel = { kind = "lines" }
  function panel.draw(svg, box)
    local x_lo, x_hi, values, legend, lines = math.huge, -math.huge, {}, {}, {}
    local low_smooth, high_smooth = math.huge, -math.huge
    for i, s in ipairs(spec.series) do
      local x = s.x
      if not x then
        x = {}
        for k = 1, #s.y do
          x[k] = k
        end
      end
      if #x ~= #s.y then
        error("viz.lines: series '" .. tostring(s.name) .. "' has " .. #x .. " x and " .. #s.y .. " y values", 0)
      end
      local beta = s.smooth or spec.smooth or (#s.y > 100 and 1 - 50 / #s.y or 0)
      local line = { x = x, y = s.y, color = color_of(s, i), dash = s.dash }
      if beta > 0 then
        line.smooth = smooth_on_axis(s.y, math.min(beta, 0.995), spec.log_y)
      end
      for k = 1, #x do
        x_lo, x_hi = math.min(x_lo, x[k]), math.max(x_hi, x[k])
        local v = s.y[k]
        if finite(v) and (not spec.log_y or v > 0) then
          values[#values + 1] = v
          if line.smooth and k * 20 >= #x then -- the first 5% may leave the picture
            low_smooth, high_smooth = math.min(low_smooth, line.smooth[k]), math.max(high_smooth, line.smooth[k])
          end
        end
      end
      lines[i] = line
      if s.name then
        legend[#legend + 1] = { name = s.name, color = line.color, dash = s.dash }
      end
    end
    table.sort(values)
    local levels = spec.level and (spec.level.y and { spec.level } or spec.level) or {}
    local y_lo, y_hi = math.huge, -math.huge
    if #values > 0 then -- single spikes must not flatten everything else
      y_lo, y_hi = quantile(values, 0.005), quantile(values, 0.995)
      if low_smooth <= high_smooth and (not spec.log_y or low_smooth > 0) then
        y_lo, y_hi = math.min(y_lo, low_smooth), math.max(y_hi, high_smooth)
      end
    end
    for _, level in ipairs(levels) do
      y_lo, y_hi = math.min(y_lo, level.y), math.max(y_hi, level.y)
    end
    y_lo, y_hi = axes.widen(y_lo, y_hi, 0.06, spec.log_y)
    if x_lo > x_hi then
      x_lo, x_hi = 0, 1
    elseif x_lo == x_hi then
      x_lo, x_hi = x_lo - 1, x_hi + 1
    end
    local inner, sx, sy = axes.draw(svg, box, {
      title = spec.title, x_label = spec.x_label, y_label = spec.y_label, log_y = spec.log_y, legend = legend,
      x_range = spec.x_range or { x_lo, x_hi }, y_range = spec.y_range or { y_lo, y_hi },
    })
    local clip = svg:clip(inner.x, inner.y, inner.w, inner.h)
    for _, line in ipairs(lines) do
      if line.smooth then
        polyline(svg, line.x, line.y, sx, sy, inner.w / 1.5,
          { fill = "none", stroke = line.color, width = 1, opacity = 0.22, clip = clip, join = "round" })
      end
    end
    for _, line in ipairs(lines) do
      polyline(svg, line.x, line.smooth or line.y, sx, sy, inner.w / 1.5,
        { fill = "none", stroke = line.color, width = 2, dash = line.dash, clip = clip, join = "round" })
    end
    for _, level in ipairs(levels) do
      local y = sy(level.y)
      svg:line(inner.x, y, inner.x + inner.w, y, { stroke = "#444444", width = 1.2, dash = "6 4" })
      if level.name then
        svg:text(inner.x + inner.w - 6, y - 5, level.name, { anchor = "end", color = "#444444", size = 11, halo = true })
      end
    end
    axes.frame(svg, inner)
  end
  return panel
end

--- Histograms of several sets over shared bins, as shares of each set.
--- spec: sets = { { name, values, color? } }; bins (40); range {lo, hi}; title, x_label, y_label.
---@param spec table
---@return table panel
function viz.histogram(spec)
  words.check_options("viz.histogram", spec, { "sets", "bins", "range", "title", "x_label", "y_label" })
  local panel = { kind = "histogram" }
  function panel.draw(svg, box)
    local bins = spec.bins or 40
    local lo, hi = math.huge, -math.huge
    for _, set in ipairs(spec.sets) do
      for _, v in ipairs(set.values) do
        if finite(v) then
          lo, hi = math.min(lo, v), math.max(hi, v)
        end
      end
    end
    if spec.range then
      lo, hi = spec.range[1], spec.range[2]
    else
      lo, hi = axes.widen(lo, hi, 0)
    end
    local tallest, counts, legend = 0, {}, {}
    for i, set in ipairs(spec.sets) do
      local c, total = {}, 0
      for b = 1, bins do
        c[b] = 0
      end
      for _, v in ipairs(set.values) do
        if finite(v) and v >= lo and v <= hi then
          local b = math.min(bins, math.floor((v - lo) / (hi - lo) * bins) + 1)
          c[b] = c[b] + 1
        end
        total = total + 1
      end
      for b = 1, bins do
        c[b] = c[b] / math.max(1, total)
        tallest = math.max(tallest, c[b])
      end
      counts[i] = c
      legend[i] = { name = set.name, color = color_of(set, i), shape = "box" }
    end
    local inner, sx, sy = axes.draw(svg, box, {
      title = spec.title, x_label = spec.x_label, y_label = spec.y_label, legend = legend,
      x_range = { lo, hi }, y_range = { 0, tallest > 0 and tallest * 1.08 or 1 },
    })
    for i, c in ipairs(counts) do
      local floor_y = sy(0)
      local outline = { "M", sx(lo), floor_y }
      for b = 1, bins do
        for _, v in ipairs { "L", sx(lo + (hi - lo) * (b - 1) / bins), sy(c[b]), "L", sx(lo + (hi - lo) * b / bins), sy(c[b]) } do
          outline[#outline + 1] = v
        end
      end
      for _, v in ipairs { "L", sx(hi), floor_y, "Z" } do
        outline[#outline + 1] = v
      end
      local color = color_of(spec.sets[i], i)
      svg:path(outline, { fill = color, fill_opacity = 0.4, stroke = color, width = 1.4, join = "round" })
    end
    axes.frame(svg, inner)
  end
  return panel
end

-- Colour scales as stops from 0 to 1. "blues": faint to strong. "verdict": fake (orange) over undecided to real (blue).
local SCALES = {
  blues = { { 247, 251, 255 }, { 198, 219, 239 }, { 107, 174, 214 }, { 33, 113, 181 }, { 8, 48, 107 } },
  verdict = { { 213, 94, 0 }, { 244, 175, 120 }, { 247, 247, 247 }, { 130, 185, 220 }, { 0, 114, 178 } },
}

local function color_at(scale, t)
  local stops = SCALES[scale]
  local p = math.max(0, math.min(1, t)) * (#stops - 1)
  local i = math.min(#stops - 1, math.floor(p) + 1)
  local f = p - (i - 1)
  local c = {}
  for k = 1, 3 do
    c[k] = math.floor(stops[i][k] + (stops[i + 1][k] - stops[i][k]) * f + 0.5)
  end
  return string.format("#%02x%02x%02x", c[1], c[2], c[3])
end

-- The surface as bands of equal value: one path per colour, runs of equal cells joined.
local function surface(svg, inner, sx, sy, s, clip)
  local rows, columns, bands = #s.values, #s.values[1], s.bands or 24
  local x0, x1, y0, y1 = s.x_range[1], s.x_range[2], s.y_range[1], s.y_range[2]
  local lo, hi = s.range[1], s.range[2]
  local paths = {}
  for r, row in ipairs(s.values) do
    local top, bottom = sy(y0 + (y1 - y0) * r / rows), sy(y0 + (y1 - y0) * (r - 1) / rows)
    local c = 1
    while c <= columns do
      local function band(v)
        return finite(v) and math.max(1, math.min(bands, math.floor((v - lo) / (hi - lo) * bands) + 1)) or 0
      end
      local b, last = band(row[c]), c
      while last < columns and band(row[last + 1]) == b do
        last = last + 1
      end
      if b > 0 then
        local left, right = sx(x0 + (x1 - x0) * (c - 1) / columns), sx(x0 + (x1 - x0) * last / columns)
        local p = paths[b] or {}
        paths[b] = p
        for _, v in ipairs { "M", left, top, "H", right, "V", bottom, "H", left, "Z" } do
          p[#p + 1] = v
        end
      end
      c = last + 1
    end
  end
  for b = 1, bands do
    if paths[b] then
      svg:path(paths[b], { fill = color_at(s.scale or "blues", (b - 0.5) / bands), clip = clip, crisp = "crispEdges" })
    end
  end
  if s.bar ~= false then
    local x = inner.x + inner.w + 8
    for b = 1, bands do
      local y = inner.y + inner.h * (bands - b) / bands
      svg:rect(x, y, 10, inner.h / bands + 0.5, { fill = color_at(s.scale or "blues", (b - 0.5) / bands) })
    end
    svg:text(x + 14, inner.y + 9, words.number("%.3g", hi), { size = 10 })
    svg:text(x + 14, inner.y + inner.h, words.number("%.3g", lo), { size = 10 })
  end
end

--- Points in the plane, over a heat map if one is given.
--- spec: sets = { { name, x, y, color?, radius? } }; x_range, y_range; square (equal axes); title, x_label, y_label;
--- surface = { values = rows from the lowest y up, x_range, y_range, range = {lo, hi}, scale = "blues"|"verdict", bands, bar }.
---@param spec table
---@return table panel
function viz.scatter(spec)
  words.check_options("viz.scatter", spec,
    { "sets", "x_range", "y_range", "square", "title", "x_label", "y_label", "surface" })
  local panel = { kind = "scatter" }
  function panel.draw(svg, box)
    local x_lo, x_hi, y_lo, y_hi = math.huge, -math.huge, math.huge, -math.huge
    local legend = {}
    for i, set in ipairs(spec.sets or {}) do
      for k = 1, #set.x do
        if finite(set.x[k]) and finite(set.y[k]) then
          x_lo, x_hi = math.min(x_lo, set.x[k]), math.max(x_hi, set.x[k])
          y_lo, y_hi = math.min(y_lo, set.y[k]), math.max(y_hi, set.y[k])
        end
      end
      if set.name then
        legend[#legend + 1] = { name = set.name, color = color_of(set, i), shape = "dot" }
      end
    end
    local s = spec.surface
    local x_range, y_range = spec.x_range or (s and s.x_range), spec.y_range or (s and s.y_range)
    if not x_range then
      x_range = { axes.widen(x_lo, x_hi, 0.05) }
    end
    if not y_range then
      y_range = { axes.widen(y_lo, y_hi, 0.05) }
    end
    local bar = s and s.bar ~= false
    local inner, sx, sy = axes.draw(svg, { x = box.x, y = box.y, w = box.w - (bar and 34 or 0), h = box.h }, {
      title = spec.title, x_label = spec.x_label, y_label = spec.y_label, legend = legend, x_range = x_range,
      y_range = y_range, square = spec.square, no_grid = s ~= nil,
    })
    local clip = svg:clip(inner.x, inner.y, inner.w, inner.h)
    if s then
      surface(svg, inner, sx, sy, s, clip)
    end
    for i, set in ipairs(spec.sets or {}) do
      local r = set.radius or 1.8
      local dots = {}
      for k = 1, #set.x do
        if finite(set.x[k]) and finite(set.y[k]) then
          for _, v in ipairs { "M", sx(set.x[k]) - r, sy(set.y[k]), "a", r, r, 0, 1, 0, 2 * r, 0, "a", r, r, 0, 1, 0, -2 * r, 0 } do
            dots[#dots + 1] = v
          end
        end
      end
      if #dots > 0 then
        svg:path(dots, { fill = color_of(set, i), fill_opacity = 0.7, clip = clip })
      end
    end
    axes.frame(svg, inner)
  end
  return panel
end

--- Lays panels out and gives the SVG text back.
---@param panels table one panel or a list
---@param options {width: number?, height: number?, columns: integer?}? of the whole figure; default 800 wide, 450 a row
---@return string svg
function viz.render(panels, options)
  options = words.check_options("viz.render", options, { "width", "height", "columns" })
  if panels.draw then
    panels = { panels }
  end
  local columns = options.columns or 1
  local rows = math.ceil(#panels / columns)
  local width, height = options.width or 800, options.height or 450 * rows
  local svg = svg_writer.new(width, height)
  local w, h = width / columns, height / rows
  for i, panel in ipairs(panels) do
    panel.draw(svg, { x = w * ((i - 1) % columns), y = h * math.floor((i - 1) / columns), w = w, h = h })
  end
  return svg:finish()
end

--- Renders and writes a figure. The file appears whole or not at all.
---@param path string
---@param panels table
---@param options table? as viz.render
---@return true? ok
---@return string? message
function viz.save(path, panels, options)
  return require("forger.core").write_file(path, viz.render(panels, options))
end

return viz
