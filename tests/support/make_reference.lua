-- make_reference.lua [DIR]: writes docs/reference (or DIR) from the code: lua/forger/reference.lua for tensors, layers and
-- optimizers, the comments above functions for everything else in Lua, the comments in include/*.h for C.
-- Fails, naming them, for public names without an entry and entries without a real name. `dofile` gives the maker itself.
local fg = require "forger"
local core = require "forger.core"
local notes = dofile "tests/support/reference_notes.lua"

local maker = {}

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("a")
  f:close()
  return text
end

local function split(text)
  local list = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    list[#list + 1] = line
  end
  return list
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    if type(key) == "string" then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys)
  return keys
end

-- ---------------------------------------------------------------- comments above Lua functions
local sources = {}
local function source(path)
  sources[path] = sources[path] or split(read(path))
  return sources[path]
end

-- The block of `---` lines that ends on line `last`: { text = lines, params = {...}, returns = {...} }, nil when there is none.
local function comment(path, last)
  local lines, first = source(path), last
  while first >= 1 and lines[first]:match("^%-%-%-") do
    first = first - 1
  end
  if first == last then
    return nil
  end
  local doc = { text = {}, params = {}, returns = {} }
  local into = doc.text
  for i = first + 1, last do
    local line = lines[i]:match("^%-%-%- ?(.*)$")
    local tag, rest = line:match("^@(%w+)%s*(.*)$")
    if tag == "param" then
      doc.params[#doc.params + 1] = rest
      into = doc.params
    elseif tag == "return" or tag == "type" then
      doc.returns[#doc.returns + 1] = rest
      into = doc.returns
    elseif tag then
      into = {}
    elseif into == doc.text then
      into[#into + 1] = line
    elseif #into > 0 then
      into[#into] = into[#into] .. " " .. line:match("^%s*(.*)$")
    end
  end
  return doc
end

-- Lines as Markdown: indented ones are shown as they stand.
local function markdown(lines)
  local out, verbatim = {}, false
  for _, line in ipairs(lines) do
    local indented = line:match("^%s%s") ~= nil or (verbatim and line == "")
    if indented ~= verbatim then
      out[#out + 1] = indented and "\n```" or "```\n"
      verbatim = indented
    end
    out[#out + 1] = line
  end
  if verbatim then
    out[#out + 1] = "```"
  end
  return (table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("\n+$", ""):gsub("^\n+", ""):gsub("\n\n```\n\n$", "\n```"))
end

local function has_text(doc)
  return doc and #doc.text > 0 and table.concat(doc.text):match("%S") ~= nil
end

local function field_line(text)
  local name, rest = text:match("^(%S+)%s+(.*)$")
  return "`" .. (name or text) .. "` " .. (rest or "")
end

local function doc_entry(name, parameters, doc)
  local out = { "### " .. name, "", "`" .. name .. parameters .. "`", "", markdown(doc.text) }
  if #doc.params > 0 or #doc.returns > 0 then
    out[#out + 1] = ""
  end
  for _, p in ipairs(doc.params) do
    out[#out + 1] = "- " .. field_line(p)
  end
  for _, r in ipairs(doc.returns) do
    out[#out + 1] = "- gives `" .. r .. "`"
  end
  return table.concat(out, "\n")
end

local function relative(path)
  return path:match("(lua/forger/.*)$")
end

-- Entry of a Lua function by the comment above its definition.
local function function_entry(name, f)
  local info = debug.getinfo(f, "S")
  local path = info.what ~= "C" and relative(info.source)
  local doc = path and comment(path, info.linedefined - 1)
  if not has_text(doc) then
    return nil
  end
  return doc_entry(name, source(path)[info.linedefined]:match("(%b())") or "()", doc)
end

-- The comment at the top of a file, as a page's or section's opening.
local function opening(path)
  local lines, last = source(path), 0
  while lines[last + 1] and lines[last + 1]:match("^%-%-%-") and not lines[last + 1]:match("^%-%-%-@") do
    last = last + 1
  end
  local doc = comment(path, last)
  return doc and markdown(doc.text) or ""
end

-- Entries of the methods of a class: `function Class:method` in its file, shown as `shown:method`.
local function class_entries(path, class, shown, problems)
  local out, lines = {}, source(path)
  for i, line in ipairs(lines) do
    local name, parameters = line:match("^function " .. class .. "[:.]([%a][%w_]*)(%b())")
    if name then
      local doc = comment(path, i - 1)
      if has_text(doc) then
        out[#out + 1] = doc_entry(shown .. ":" .. name, parameters, doc)
      else
        problems[#problems + 1] = shown .. ":" .. name .. " (" .. path .. ":" .. i .. ") has no comment"
      end
    end
  end
  if #out == 0 then
    problems[#problems + 1] = path .. " has no methods of " .. class
  end
  return out
end

-- ---------------------------------------------------------------- C headers
local header = dofile "tests/support/read_header.lua"
local HEADERS = { "include/forger.h", "include/forger_lua.h" }
local function c_page(problems, lua_entries)
  local out = {
    "# C reference", "",
    "Made from `include/forger.h` and `include/forger_lua.h`. Ops take a scope and return tensors that the scope owns; NULL in",
    "gives NULL out, and `fg_scope_close` returns the first error. Functions with effects outside return an `fg_status`. Axes",
    "count from 0. Shapes stand in brackets behind a name: `x[N,H,W,C]`. See the [guide](../guide/06-embedding.md).", "",
  }
  local names = {}
  for _, path in ipairs(HEADERS) do
    for _, section in ipairs(header(path)) do
      if #section.items > 0 then
        local title = section.title ~= "" and section.title or path:match("[^/]+$")
        out[#out + 1] = "## " .. title:sub(1, 1):upper() .. title:sub(2) .. "\n"
        for _, item in ipairs(section.items) do
          local text = item.text
          if text == "" and item.name:match("^fg_") then
            local entry = lua_entries["t:" .. item.name:sub(4)] or lua_entries["fg." .. item.name:sub(4)]
            text = entry and "As Lua's `" .. entry[1] .. "`: " .. entry[3] or ""
          end
          if text == "" and notes.c[item.name] then
            text = notes.c[item.name]
          elseif notes.c[item.name] then
            problems[#problems + 1] = "note " .. item.name .. ": the header says it already"
          end
          if text == "" and item.code:match("^[%w_ *]+%(") and not item.code:match("^#") then
            problems[#problems + 1] = item.name .. " has no description"
          end
          names[item.name] = true
          out[#out + 1] = "### " .. item.name .. "\n\n```c\n" .. item.code .. "\n```\n" .. (text ~= "" and "\n" .. text .. "\n" or "")
        end
      end
    end
  end
  for _, name in ipairs(sorted(notes.c)) do
    if not names[name] then
      problems[#problems + 1] = "note " .. name .. ": there is no such function"
    end
  end
  -- nothing that begins with FG_API may have slipped through
  for _, path in ipairs(HEADERS) do
    for _, line in ipairs(split(read(path))) do
      local name = line:match("^FG_API[^(]-([%w_]+)%(")
      if name and not names[name] then
        problems[#problems + 1] = path .. ": " .. name .. " has no entry"
      end
    end
  end
  return table.concat(out, "\n"), names
end

--- Names of all functions that the headers declare.
function maker.prototypes()
  local list = {}
  for _, path in ipairs(HEADERS) do
    for _, section in ipairs(header(path)) do
      for _, item in ipairs(section.items) do
        if item.code:match("^[%w_ *]+%(") and not item.code:match("^typedef") and not item.code:match("^#") then
          list[#list + 1] = item.name
        end
      end
    end
  end
  return list
end

-- ---------------------------------------------------------------- Lua names
local ROOMS = { "nn", "optim", "image", "data", "gan", "viz", "metrics", "train", "cli" }
local is_room = {}
for _, room in ipairs(ROOMS) do
  is_room[room] = true
end

local function short(room)
  return room == "image" and "fg.image" or room
end

-- Every public name of a table: name -> value. Tables without metatable are entered, classes are not.
local function walk(prefix, t, names)
  for _, key in ipairs(sorted(t)) do
    local value = t[key]
    local name = prefix .. "." .. key
    local class = type(value) == "table" and (rawget(value, "class") or (getmetatable(value) or {}).__call)
    if type(value) == "table" and not class and #value == 0 then
      walk(name, value, names)
    elseif key:sub(1, 1) ~= "_" then
      names[name] = value
    end
  end
end

--- Everything that can be reached from require "forger": name -> value.
function maker.names()
  local names = {}
  for _, key in ipairs(sorted(fg)) do
    if not is_room[key] then
      if type(fg[key]) == "table" then
        walk("fg." .. key, fg[key], names)
      else
        names["fg." .. key] = fg[key]
      end
    end
  end
  for _, room in ipairs(ROOMS) do
    if room == "nn" then
      walk("nn.init", fg.nn.init, names)
    end
    for _, key in ipairs(sorted(fg[room])) do
      local value = fg[room][key]
      if not (room == "nn" and key == "init") then
        walk(short(room), { [key] = value }, names)
      end
    end
  end
  for _, key in ipairs(sorted(core.methods)) do
    names["t:" .. key] = core.methods[key]
  end
  for _, key in ipairs(sorted(fg.nn.Module)) do
    if type(fg.nn.Module[key]) == "function" and not key:match("^_") then
      names["net:" .. key] = fg.nn.Module[key]
    end
  end
  names["net:append"] = fg.nn.Sequential.append
  return names
end

local CLASSES = {
  { page = "optim", path = "lua/forger/optim.lua", class = "EMA", shown = "ema", title = "Moving averages (what optim.EMA gives)" },
  { page = "optim", path = "lua/forger/optim.lua", class = "Schedule", shown = "schedule", title = "Schedules" },
  { page = "data", path = "lua/forger/data/loader.lua", class = "Loader", shown = "loader", title = "Loader" },
  { page = "data", path = "lua/forger/data.lua", class = "TensorDataset", shown = "set", title = "TensorDataset" },
  { page = "data", path = "lua/forger/data.lua", class = "ImageSet", shown = "set", title = "ImageSet" },
  { page = "gan", path = "lua/forger/gan/trainer.lua", class = "Trainer", shown = "trainer", title = "Trainer" },
  { page = "gan", path = "lua/forger/gan/latent.lua", class = "Latent", shown = "latent", title = "Latent" },
  { page = "gan", path = "lua/forger/gan/average.lua", class = "EMA", shown = "average", title = "The average of G (what gan.EMA gives)" },
  { page = "train", path = "lua/forger/train/progress.lua", class = "Progress", shown = "bar", title = "Progress line" },
  { page = "train", path = "lua/forger/train/run_folder.lua", class = "RunFolder", shown = "folder", title = "Run folder" },
}

-- Pages made from comments: rooms in order, with the file whose opening introduces them.
local COMMENTED = {
  { "data", "Data", { { "data", "lua/forger/data.lua" } } },
  { "gan", "GAN training", { { "gan", "lua/forger/gan.lua" } } },
  { "viz", "Plots", { { "viz", "lua/forger/viz.lua" } } },
  { "train", "Training loops, measures, command lines",
    { { "train", "lua/forger/train.lua" }, { "metrics", "lua/forger/metrics.lua" }, { "cli", "lua/forger/cli.lua" } } },
}
-- Openings of files below a room, shown before their entries.
local INSIDE = {
  ["gan.losses"] = "lua/forger/gan/losses.lua", ["gan.regularizers"] = "lua/forger/gan/regularizers.lua",
  ["gan.readouts"] = "lua/forger/gan/readouts.lua", ["gan.Trainer"] = "lua/forger/gan/trainer.lua",
  ["gan.Latent"] = "lua/forger/gan/latent.lua", ["gan.EMA"] = "lua/forger/gan/average.lua",
  ["metrics.judge"] = "lua/forger/metrics/judge.lua",
}

-- Which page a section of reference.lua goes to, by the kind of its names.
local function page_of(section)
  local kind = section[1][1]:match("^(%a+)")
  return (kind == "nn" or kind == "net") and "nn" or (kind == "optim" or kind == "opt") and "optim" or "tensors"
end

local function table_entry(entry, name)
  local note = notes.notes[name]
  return "### " .. name .. "\n\n`" .. entry[2] .. "`\n\n" .. entry[3] .. (note and " " .. note or "") .. "\n"
end

-- What an editor should take a result for, by the words of a signature.
local RESULTS = { tensor = "forger.Tensor", t = "forger.Tensor", boolean = "boolean", integer = "integer", number = "number", string = "string" }

--- Editor stubs (LuaCATS) of what is written in C: lua-language-server knows the rest from the comments in lua/forger.
---@param reference table
---@return string
function maker.stubs(reference)
  local out = {
    "---@meta", "-- Editor stubs of the parts of Forger that are written in C; made by tests/support/make_reference.lua.", "",
    "---@class forger.Tensor", "---@field shape integer[]", "---@field ndim integer", "---@field dtype \"f32\"|\"bf16\"|\"u8\"|\"i32\"",
    "---@field grad forger.Tensor?", "---@field requires_grad boolean",
  }
  for _, operator in ipairs { "add", "sub", "mul", "div" } do
    out[#out + 1] = "---@operator " .. operator .. "(forger.Tensor|number): forger.Tensor"
  end
  out[#out + 1] = "---@operator pow(number): forger.Tensor\n---@operator unm: forger.Tensor\nlocal Tensor = {}\n\n---@class forger\nlocal fg = {}\n"
  local function stub(entry, target, result)
    out[#out + 1] = "--- `" .. entry[2] .. "`\n---\n--- " .. entry[3] .. "\n---@param ... any\n---@return " .. result .. "\nfunction " .. target
      .. "(...) end\n"
  end
  for _, section in ipairs(reference) do
    for _, entry in ipairs(section) do
      local kind, name = entry[1]:match("^(%a+)[.:]([%w_]+)$")
      local result = RESULTS[entry[2]:match("%-> (%a+)%s*[%[%]%w,]*$") or ""] or "any"
      if kind == "t" then
        stub(entry, "Tensor:" .. name, result)
      end
      if name and (kind == "fg" or (kind == "t" and core.ops[name])) and type(fg[name]) == "function" then
        stub(entry, "fg." .. name, result)
      end
    end
  end
  out[#out + 1] = "return fg"
  return table.concat(out, "\n")
end

-- An optimizer to look for fields in.
local function optimizer_sample()
  local p = fg.zeros(1)
  p.requires_grad = true
  return fg.optim.SGD({ p }, { lr = 1 })
end

--- The pages by file name, and a list of what is wrong. `reference` and `names` are the module's unless a test passes others.
---@param reference table?
---@param names table?
function maker.pages(reference, names)
  reference = reference or require "forger.reference"
  names = names or maker.names()
  local problems, pages, entries, covered = {}, {}, {}, {}
  local bodies = { tensors = {}, nn = {}, optim = {} }
  local function exists(name)
    local kind, field = name:match("^(%a+)[.:]([%w_]+)$")
    if names[name] ~= nil or (kind == "t" and names["t:" .. field] ~= nil) then
      return true
    elseif kind == "opt" then
      local ok, value = pcall(function()
        return optimizer_sample()[field]
      end)
      return ok and value ~= nil
    elseif kind == "net" then
      return fg.nn.Linear(1, 1)[field] ~= nil
    end
    return false
  end
  for _, section in ipairs(reference) do
    local body = bodies[page_of(section)]
    body[#body + 1] = "## " .. section.title .. "\n"
    for _, entry in ipairs(section) do
      local name = entry[1]
      if entries[name] then
        problems[#problems + 1] = name .. " has two entries"
      end
      entries[name] = entry
      if not exists(name) then
        problems[#problems + 1] = "entry " .. name .. ": there is no such thing"
      end
      body[#body + 1] = table_entry(entry, name)
    end
  end
  for _, field in ipairs(notes.fields) do
    local name = field[1]
    if not exists(name) then
      problems[#problems + 1] = "field " .. name .. ": there is no such thing"
    end
    if not entries[name] then
      entries[name] = field
      local room = name:match("^(%a+)")
      local body = bodies[room == "net" and "nn" or (room == "t" or room == "fg") and "tensors" or ""]
      if body then
        if not body.fields then
          body.fields = true
          body[#body + 1] = "## Fields\n"
        end
        body[#body + 1] = table_entry(field, name)
      end
    end
  end
  for _, name in ipairs(sorted(notes.notes)) do
    if not entries[name] then
      problems[#problems + 1] = "note " .. name .. ": there is no such entry"
    end
  end

  local function has_entry(name)
    local kind, field = name:match("^(%a+)[.:]([%w_]+)$")
    if entries[name] then
      return true
    elseif kind == "fg" then
      return entries["t:" .. field] ~= nil
    elseif kind == "t" then
      return entries["fg." .. field] ~= nil or entries["t." .. field] ~= nil
    end
    return false
  end

  local openings = {}
  for _, page in ipairs(COMMENTED) do
    local out = { "# " .. page[2] .. "\n" }
    for _, room in ipairs(page[3]) do
      out[#out + 1] = "## " .. room[1] .. "\n\n" .. opening(room[2]) .. "\n"
      for _, name in ipairs(sorted(names)) do
        if name:match("^" .. room[1] .. "%.") then
          local group = name:match("^(%a+%.%a+)%.") or name
          if INSIDE[group] and not openings[group] then
            openings[group] = true
            out[#out + 1] = "## " .. group .. "\n\n" .. opening(INSIDE[group]) .. "\n"
          end
          local text = entries[name] and table_entry(entries[name], name)
            or type(names[name]) == "function" and function_entry(name, names[name])
          if text then
            covered[name] = true
            out[#out + 1] = text .. "\n"
          end
        end
      end
    end
    bodies[page[1]] = out
  end
  for _, class in ipairs(CLASSES) do
    local body = bodies[class.page]
    body[#body + 1] = "## " .. class.title .. "\n"
    for _, text in ipairs(class_entries(class.path, class.class, class.shown, problems)) do
      body[#body + 1] = text .. "\n"
    end
  end

  for _, name in ipairs(sorted(names)) do
    if not (has_entry(name) or covered[name]) then
      problems[#problems + 1] = name .. " has no entry"
    end
  end
  -- options of layers: each has to be named in the signature
  for _, info in ipairs(core.layer_kinds) do
    local entry = entries["nn." .. info.kind]
    for i, attribute in ipairs(info.attributes) do
      if entry and i > info.positional and not entry[2]:find(attribute, 1, true) then
        problems[#problems + 1] = "entry nn." .. info.kind .. " does not name the option " .. attribute
      end
    end
  end
  for op in read("src/ops/ops.def"):gmatch("FG_OP%(([%w_]+)%)") do
    if not (entries["t:" .. op] or entries["fg." .. op]) then
      problems[#problems + 1] = "op " .. op .. " has no entry"
    end
  end

  local function page(file, text)
    pages[file] = (text:gsub("\n\n\n+", "\n\n"):gsub("%s+$", "")) .. "\n"
  end
  local titles = {
    tensors = "# Tensors, gradients, settings, files\n\nEvery op that is a method `t:sum(...)` is a function `fg.sum(t, ...)` too. Axes and "
      .. "positions count from 1, -1 is the last;\nnumbers stored in tensors count from 0. Misuse raises an error that names function, "
      .. "argument and shapes; what reads\nor writes a file gives nil and a message.\n",
    nn = "# Layers and modules\n\n" .. opening("lua/forger/nn/init.lua") .. "\n\n" .. opening("lua/forger/nn/module.lua") .. "\n",
    optim = "# Optimizers, schedules, averages\n\n" .. opening("lua/forger/optim.lua") .. "\n",
  }
  for _, name in ipairs(sorted(bodies)) do
    page(name .. ".md", (titles[name] and titles[name] .. "\n" or "") .. table.concat(bodies[name], "\n"))
  end
  page("c.md", (c_page(problems, entries)))
  page("forger.meta.lua", maker.stubs(reference))

  local index = {
    "# Reference\n", "Made from the code by `lua5.4 tests/support/make_reference.lua`; only",
    "[gan-semantics.md](gan-semantics.md) is written by hand. `fg.help \"Conv2d\"` prints entries at the prompt.\n",
    "- [What each GAN option means exactly](gan-semantics.md), and where habits of PyTorch, Keras and the books differ",
    "- [forger.meta.lua](forger.meta.lua): stubs for editors with lua-language-server (put this folder into `workspace.library`)",
  }
  for _, name in ipairs { "tensors", "nn", "optim", "data", "gan", "viz", "train", "c" } do
    local list = {}
    for entry in pages[name .. ".md"]:gmatch("\n### ([^\n]+)") do
      list[#list + 1] = "`" .. entry .. "`"
    end
    index[#index + 1] = "\n## [" .. pages[name .. ".md"]:match("^# ([^\n]+)") .. "](" .. name .. ".md)\n\n" .. table.concat(list, " ")
  end
  page("README.md", table.concat(index, "\n"))
  return pages, problems
end

if arg and arg[0] and arg[0]:match("make_reference%.lua$") then
  local pages, problems = maker.pages()
  for _, problem in ipairs(problems) do
    io.stderr:write(problem, "\n")
  end
  if #problems > 0 then
    os.exit(1)
  end
  local dir = arg[1] or "docs/reference"
  for _, name in ipairs(sorted(pages)) do
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(pages[name])
    f:close()
  end
  print(#sorted(pages) .. " pages in " .. dir)
end

return maker
