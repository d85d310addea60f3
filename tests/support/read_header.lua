-- read_header.lua: gives a function that reads a public C header for the reference: declarations with the comments that stand
-- before or behind them. It knows the manner of include/*.h, not C: a section begins with a line of dashes in a comment, a
-- comment above a declaration belongs to it alone, one behind it may go on over several lines.
local function split(text)
  local list = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    list[#list + 1] = line
  end
  return list
end

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("a")
  f:close()
  return text
end

-- A header as a list of sections { title, items = { { name =, code =, text = } } }.
local function header(path)
  local sections, current, pending = {}, nil, {}
  local lines, i = split(read(path)), 1
  local function clean(text)
    return (text:gsub("^%s*/%*+%s*", ""):gsub("%s*%*/%s*$", ""):gsub("\n%s*%* ?", " "):gsub("\n%s*", " "):gsub("%s+", " "))
  end
  local function section(title)
    current = { title = title, items = {} }
    sections[#sections + 1] = current
  end
  local function add(name, code, trailing)
    local text = {}
    for _, p in ipairs(pending) do
      text[#text + 1] = p
    end
    if trailing and trailing ~= "" then
      text[#text + 1] = clean(trailing)
    end
    current.items[#current.items + 1] = { name = name, code = code, text = table.concat(text, " ") }
    pending = {}
  end
  section("")
  while lines[i] and not lines[i]:match('^extern "C"') do -- the guard and the includes
    i = i + 1
  end
  while lines[i] do
    local line = lines[i]
    local title = line:match("^/%* %-+ (.-) %*/$")
    if title then
      section(title)
      pending = {}
    elseif line:match("^/%*") then
      local text = line
      while not text:match("%*/%s*$") do
        i = i + 1
        text = text .. "\n" .. lines[i]
      end
      pending[#pending + 1] = clean(text)
    elseif line:match("^FG_API") then
      local code = line
      while not code:match(";") do
        i = i + 1
        code = code .. "\n" .. lines[i]
      end
      local declaration, trailing = code:match("^(.-;)%s*(.*)$")
      while trailing:match("^/%*") and not trailing:match("%*/%s*$") do
        i = i + 1
        trailing = trailing .. "\n" .. lines[i]
      end
      declaration = declaration:gsub("^FG_API ", ""):gsub("\n%s*", " ")
      add(declaration:match("([%w_]+)%(") or declaration:match("([%w_]+);"), declaration, trailing)
    elseif line:match("^typedef") then
      local code = line
      if line:match("{%s*$") or line:match("{[^}]*$") then
        repeat
          i = i + 1
          code = code .. "\n" .. lines[i]
        until lines[i]:match("^}")
      end
      add(code:match("([%w_]+);[^;]*$"), code)
    elseif line:match("^#define FG_%u") and not line:match("FG_NARGS_%(a") and not line:match("FG_API") then
      add(line:match("^#define ([%w_]+)"), line)
    elseif line == "" then
      pending = {}
    end
    i = i + 1
  end
  return sections
end

return header
