-- The documentation is true: every Lua block of README and guide runs and prints what it says, every C block compiles and
-- runs, every link leads somewhere, and docs/reference is complete and up to date. Needs a shell and a C compiler.
local core = require "forger.core"

local SHORT = 3 -- steps that a page's trainings take here

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("a")
  f:close()
  return text
end

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

local function folder()
  local path = os.tmpname()
  os.remove(path)
  assert(core.mkdirs(path))
  return path
end

local function lines(command)
  local list, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  pipe:close()
  return list
end

-- The blocks of one language: { first = line of the fence, lines = {...} }.
local function blocks(text, language)
  local list, open, number = {}, nil, 0
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local fence = line:match("^```(.*)$")
    if fence and open then
      list[#list + 1] = open.language == language and open or nil
      open = nil
    elseif fence then
      open = { language = fence, first = number, lines = {} }
    elseif open then
      open.lines[#open.lines + 1] = line
    end
  end
  return list
end

-- All Lua of a page as one chunk with the page's line numbers, trainings cut short. Blocks marked "lua norun" are left out.
local function chunk(text)
  local out, last = {}, 0
  for _, block in ipairs(blocks(text, "lua")) do
    for _ = last + 1, block.first do
      out[#out + 1] = ""
    end
    for _, line in ipairs(block.lines) do
      line = line:gsub("steps = %d+", "steps = " .. SHORT):gsub("for step = 1, %d+", "for step = 1, " .. SHORT)
      out[#out + 1] = line
    end
    last = #out
  end
  return table.concat(out, "\n") .. "\n"
end

-- Runs a page as a program of its own; `print` notes what each line printed.
local DRIVER = [[
local page, said = arg[1], {}
local write = print
function print(...)
  local list = table.pack(...)
  for i = 1, list.n do list[i] = tostring(list[i]) end
  local line = debug.getinfo(2, "l").currentline
  said[line] = (said[line] and said[line] .. "\n" or "") .. table.concat(list, "\t")
end
arg = nil
assert(loadfile(page))()
for line, text in pairs(said) do write(line .. ":" .. text:gsub("\n", "\\n")) end
]]

local interpreter = os.getenv("LUA") or "lua5.4"
local tree = lines("pwd")[1]

local function run_page(path)
  local dir = folder()
  local source = chunk(read(path))
  write(dir .. "/page.lua", source)
  write(dir .. "/driver.lua", DRIVER)
  local out = lines("cd " .. dir .. " && FORGER_DATA=" .. tree .. "/examples/data " .. interpreter .. " driver.lua page.lua 2>&1; echo $?")
  local code = table.remove(out)
  os.execute("rm -rf " .. dir)
  assert.equal("0", code, path .. ": " .. table.concat(out, "\n"))
  local said = {}
  for _, line in ipairs(out) do
    local number, text = line:match("^(%d+):(.*)$")
    if number then
      said[tonumber(number)] = text
    end
  end
  return source, said
end

local pages = { "README.md" }
for _, name in ipairs(core.list_dir("docs/guide")) do
  pages[#pages + 1] = "docs/guide/" .. name
end

describe("the pages", function()
  for _, path in ipairs(pages) do
    if #blocks(read(path), "lua") > 0 then
      it(path .. " runs and prints what it says", function()
        local source, said = run_page(path)
        local number = 0
        for line in source:gmatch("(.-)\n") do
          number = number + 1
          local expected = line:match("%-%-> (.*)$")
          if expected then
            assert.equal(expected, said[number], path .. ":" .. number)
          end
        end
      end)
    end
  end

  it("have the guide's pages numbered without a gap", function()
    for i = 2, #pages do
      assert.equal(string.format("%02d", i - 1), pages[i]:match("(%d%d)%-[^/]*%.md$"), pages[i])
    end
  end)

  it("compile and run their C programs", function()
    local built = os.getenv("FORGER_BUILD") or "build"
    local cc = os.getenv("CC") or "cc"
    local flags = interpreter:find("asan", 1, true) and " -fsanitize=address,undefined" or ""
    local lua = "$(pkg-config --cflags --libs lua5.4 2>/dev/null || echo -I/usr/include/lua5.4 -llua5.4)"
    local programs = blocks(read("docs/guide/06-embedding.md"), "c")
    assert.equal(2, #programs)
    local dir = folder()
    for i, block in ipairs(programs) do
      local source, program = dir .. "/page" .. i .. ".c", dir .. "/page" .. i
      write(source, table.concat(block.lines, "\n") .. "\n")
      -- (the sanitizers' interpreter preloads a library that must not reach the compiler)
      local out = lines("unset LD_PRELOAD; " .. cc .. " -std=gnu11 -Wall -Wextra -Werror" .. flags .. " -Iinclude -o " .. program
        .. " " .. source .. " " .. built .. "/libforger_lua.a " .. built .. "/libforger.a -rdynamic " .. lua
        .. " -lpng -lz -lm -lpthread 2>&1 && cd / && " .. program .. " 2>&1; echo $?")
      assert.equal("0", table.remove(out), table.concat(out, "\n"))
      assert.equal(1, #out)
    end
    os.execute("rm -rf " .. dir)
  end)
end)

describe("links", function()
  it("lead to files", function()
    for _, path in ipairs(lines("find README.md CONTRIBUTING.md CHANGELOG.md docs -name '*.md' | LC_ALL=C sort")) do
      local here = path:match("^(.*/)[^/]*$") or ""
      for target in read(path):gmatch("%]%(([^)#%s]+)") do
        assert.is_true(target:match("^https?:") ~= nil or core.exists(here .. target), path .. " links to " .. target)
      end
    end
  end)
end)

describe("the reference", function()
  local maker = dofile "tests/support/make_reference.lua"

  it("has an entry for every public name and a real thing for every entry", function()
    local _, problems = maker.pages()
    assert.same({}, problems)
  end)

  it("is up to date: lua5.4 tests/support/make_reference.lua", function()
    local made = maker.pages()
    for name, text in pairs(made) do
      assert.is_true(core.exists("docs/reference/" .. name), name .. " is missing")
      assert.is_true(read("docs/reference/" .. name) == text, "docs/reference/" .. name .. " differs from what the code says")
    end
    for _, name in ipairs(core.list_dir("docs/reference")) do
      assert.is_true(made[name] ~= nil or name == "gan-semantics.md", name .. " is left over")
    end
  end)

  it("notices names without entries and entries without names", function()
    local names = maker.names()
    names["fg.brand_new"], names["gan.losses.new"] = print, print
    names["nn.Conv2d"] = nil
    local _, problems = maker.pages(nil, names)
    assert.same({ "entry nn.Conv2d: there is no such thing", "fg.brand_new has no entry", "gan.losses.new has no entry" }, problems)
  end)

  it("names no C function that the libraries lack", function()
    local built, defined = os.getenv("FORGER_BUILD") or "build", {}
    for _, line in ipairs(lines("nm -g " .. built .. "/libforger.a " .. built .. "/libforger_lua.a 2>/dev/null")) do
      defined[line:match(" T ([%w_]+)$") or ""] = true
    end
    local count = 0
    for _, name in ipairs(maker.prototypes()) do
      count = count + 1
      assert.is_true(defined[name] == true, name .. " is declared and not defined")
    end
    assert.is_true(count > 150, "only " .. count .. " prototypes found")
  end)
end)
