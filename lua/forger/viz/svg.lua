--- A small SVG writer: shapes appended to a list, joined at the end. Coordinates are written with at most two
--- decimals and a point whatever the locale, so the same plot gives the same bytes everywhere.
local words = require "forger.words"

---@class forger.viz.Svg
local Svg = {}
Svg.__index = Svg

--- "12.5": at most two decimals, no trailing zeros.
local function n(x)
  local text = words.number("%.2f", x)
  if text:find(".", 1, true) then
    text = text:gsub("0+$", ""):gsub("%.$", "")
  end
  return text
end

local function escape(text)
  return (tostring(text):gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- Attributes in the order given, so that the output never depends on table order.
local ATTRIBUTES = { "fill", "stroke", "width", "dash", "opacity", "fill_opacity", "clip", "join", "crisp" }
local NAMES = {
  width = "stroke-width", dash = "stroke-dasharray", fill_opacity = "fill-opacity", clip = "clip-path",
  join = "stroke-linejoin", crisp = "shape-rendering",
}

local function attributes(style)
  local out = {}
  for _, key in ipairs(ATTRIBUTES) do
    local value = style and style[key]
    if value ~= nil then
      if type(value) == "number" then
        value = n(value)
      end
      out[#out + 1] = " " .. (NAMES[key] or key) .. '="' .. value .. '"'
    end
  end
  return table.concat(out)
end

---@param width number pixels
---@param height number pixels
---@return forger.viz.Svg
local function new(width, height)
  local self = setmetatable({ parts = {}, clips = 0, width = width, height = height }, Svg)
  self:raw('<svg xmlns="http://www.w3.org/2000/svg" width="' .. n(width) .. '" height="' .. n(height) .. '" viewBox="0 0 '
    .. n(width) .. " " .. n(height) .. '" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">\n')
  self:rect(0, 0, width, height, { fill = "#ffffff" })
  return self
end

function Svg:raw(text)
  self.parts[#self.parts + 1] = text
end

function Svg:rect(x, y, w, h, style)
  self:raw('<rect x="' .. n(x) .. '" y="' .. n(y) .. '" width="' .. n(w) .. '" height="' .. n(h) .. '"' .. attributes(style) .. "/>\n")
end

function Svg:line(x1, y1, x2, y2, style)
  self:raw('<line x1="' .. n(x1) .. '" y1="' .. n(y1) .. '" x2="' .. n(x2) .. '" y2="' .. n(y2) .. '"' .. attributes(style) .. "/>\n")
end

function Svg:circle(x, y, r, style)
  self:raw('<circle cx="' .. n(x) .. '" cy="' .. n(y) .. '" r="' .. n(r) .. '"' .. attributes(style) .. "/>\n")
end

--- A path from a list of commands and numbers: { "M", 1, 2, "L", 3, 4 }.
function Svg:path(commands, style)
  local out, after_number = {}, false
  for _, c in ipairs(commands) do
    if type(c) == "number" then
      out[#out + 1] = (after_number and " " or "") .. n(c)
      after_number = true
    else
      out[#out + 1] = c
      after_number = false
    end
  end
  self:raw('<path d="' .. table.concat(out) .. '"' .. attributes(style) .. "/>\n")
end

--- Text. style: anchor "start" (default), "middle", "end"; size; weight; color; rotate (degrees about the point).
function Svg:text(x, y, text, style)
  style = style or {}
  local out = { '<text x="' .. n(x) .. '" y="' .. n(y) .. '" fill="' .. (style.color or "#333333") .. '"' }
  if style.anchor then
    out[#out + 1] = ' text-anchor="' .. style.anchor .. '"'
  end
  if style.size then
    out[#out + 1] = ' font-size="' .. n(style.size) .. '"'
  end
  if style.weight then
    out[#out + 1] = ' font-weight="' .. style.weight .. '"'
  end
  if style.halo then -- a white outline keeps text readable on top of lines
    out[#out + 1] = ' stroke="#ffffff" stroke-width="3" paint-order="stroke" stroke-linejoin="round"'
  end
  if style.rotate then
    out[#out + 1] = ' transform="rotate(' .. n(style.rotate) .. " " .. n(x) .. " " .. n(y) .. ')"'
  end
  self:raw(table.concat(out) .. ">" .. escape(text) .. "</text>\n")
end

--- Defines a clipping rectangle and gives the value for `clip` back.
function Svg:clip(x, y, w, h)
  self.clips = self.clips + 1
  self:raw('<clipPath id="c' .. self.clips .. '"><rect x="' .. n(x) .. '" y="' .. n(y) .. '" width="' .. n(w) .. '" height="'
    .. n(h) .. '"/></clipPath>\n')
  return "url(#c" .. self.clips .. ")"
end

--- The document.
---@return string
function Svg:finish()
  return table.concat(self.parts) .. "</svg>\n"
end

return { new = new, escape = escape, number = n }
