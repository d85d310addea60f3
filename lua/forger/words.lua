--- Small pure helpers shared by the Lua rooms: keys in a fixed order, numbers that no locale changes,
--- and the nearest name for a mistyped one. Needs nothing but Lua's string and table libraries.
local words = {}

--- The keys of a table in a fixed order (numbers first, then strings), for loops whose order must not
--- differ from run to run. This is the one place in lua/forger that walks a table with `next`.
---@param t table
---@return any[] keys sorted
function words.sorted_keys(t)
  local keys = {}
  for key in next, t do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
      return a < b
    end
    return tostring(type(a)) < tostring(type(b))
  end)
  return keys
end

--- string.format for numbers with a decimal point whatever locale the host has set.
---@param format string a format of digits only, such as "%.2f" or "%.3g"
---@param value number
---@return string
function words.number(format, value)
  if value ~= value then
    return "nan"
  elseif value == math.huge then
    return "inf"
  elseif value == -math.huge then
    return "-inf"
  end
  local text = string.format(format, value):gsub(",", ".")
  if text:match("^%-0%.?0*$") then
    text = text:sub(2)
  end
  return text
end

-- Damerau's edit distance without repeats: insert, delete, replace, swap neighbours.
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last = last, row
  end
  return last[#b]
end

--- The candidate nearest to a mistyped name, or nil when none is near.
---@param name string
---@param candidates string[]
---@return string?
function words.nearest(name, candidates)
  local best, best_distance
  for _, candidate in ipairs(candidates) do
    local d = distance(name:lower(), candidate:lower())
    if not best_distance or d < best_distance then
      best, best_distance = candidate, d
    end
  end
  if best and best_distance <= math.max(1, math.floor(#name / 3)) then
    return best
  end
  for _, candidate in ipairs(candidates) do -- the beginning of the other is near too
    if #name >= 3 and candidate:sub(1, #name) == name or #candidate >= 3 and name:sub(1, #candidate) == candidate then
      return candidate
    end
  end
  return nil
end

--- ", did you mean 'stride'?" or "".
---@param name string
---@param candidates string[]
---@return string
function words.suggestion(name, candidates)
  local near = words.nearest(tostring(name), candidates)
  return near and (", did you mean '" .. near .. "'?") or ""
end

--- Checks an options table: every key must be known. Raises at the caller's caller.
---@param who string name of the function for the message
---@param options table? the caller's options; nil counts as empty
---@param known string[] allowed keys
---@return table options
function words.check_options(who, options, known)
  if options == nil then
    return {}
  end
  if type(options) ~= "table" then
    error(who .. ": options must be a table, got " .. type(options), 3)
  end
  local allowed = {}
  for _, key in ipairs(known) do
    allowed[key] = true
  end
  for _, key in ipairs(words.sorted_keys(options)) do
    if not allowed[key] then
      error(who .. ": unknown option '" .. tostring(key) .. "'" .. words.suggestion(tostring(key), known), 3)
    end
  end
  return options
end

--- One of a list of names, or an error that lists them.
---@param who string
---@param what string what the value names, such as "loss"
---@param value any
---@param choices string[]
---@return string
function words.check_choice(who, what, value, choices)
  for _, choice in ipairs(choices) do
    if value == choice then
      return value
    end
  end
  error(who .. ": " .. what .. " must be one of " .. table.concat(choices, ", ") .. "; got '" .. tostring(value) .. "'"
    .. words.suggestion(tostring(value), choices), 3)
end

--- A span of seconds as a clock shows it: "0:07", "1:29", "1:02:03".
---@param seconds number
---@return string
function words.duration(seconds)
  if seconds ~= seconds or seconds == math.huge or seconds < 0 then
    return "?"
  end
  local s = math.floor(seconds + 0.5)
  local h, m = math.floor(s / 3600), math.floor(s / 60) % 60
  if h > 0 then
    return string.format("%d:%02d:%02d", h, m, s % 60)
  end
  return string.format("%d:%02d", m, s % 60)
end

return words
