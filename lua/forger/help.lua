--- fg.help: prints reference entries (forger.reference is the one source of them and of docs/reference).
local core = require "forger.core"
local help = {}

local function write(text)
  if print then
    print(text)
  else
    core.write_stderr(text .. "\n")
  end
end

local function short(name)
  return name:match("[.:]([%w_]+)$") or name
end

--- Entries whose full name or last part is `name`.
---@param name string
---@return table[] entries
function help.find(name)
  local found = {}
  for _, section in ipairs(require "forger.reference") do
    for _, entry in ipairs(section) do
      if entry[1] == name or short(entry[1]) == short(name) and not name:find("[.:]") then
        found[#found + 1] = entry
      end
    end
  end
  return found
end

--- The text of fg.help(name), or of the overview without a name.
---@param name string?
---@return string
function help.text(name)
  local out = {}
  if name == nil then
    for _, section in ipairs(require "forger.reference") do
      local names = {}
      for i, entry in ipairs(section) do
        names[i] = entry[1]
      end
      out[#out + 1] = section.title .. "\n  " .. table.concat(names, "  ")
    end
    out[#out + 1] = 'fg.help "name" prints one entry.'
    return table.concat(out, "\n")
  end
  if type(name) ~= "string" then
    core.raise("help: a name expected, as in fg.help \"Conv2d\"")
  end
  for _, entry in ipairs(help.find(name)) do
    out[#out + 1] = entry[2] .. "\n  " .. entry[3]
  end
  if #out == 0 then
    local names = {}
    for _, section in ipairs(require "forger.reference") do
      for _, entry in ipairs(section) do
        names[#names + 1] = short(entry[1])
      end
    end
    core.unknown("help", "name", name, names)
  end
  return table.concat(out, "\n")
end

--- Prints help.text(name).
---@param name string?
function help.show(name)
  write(help.text(name))
end

return help
