-- House rules that no off-the-shelf linter knows; run by lint.sh from the root of the tree, with lua5.4.
-- Prints "file:line: rule: message" for every violation and exits 1 if there was one.
-- Comments and strings are blanked before the source is searched, so a rule may be named in prose.

local MAX_LINES = 600

-- Rank of each room of src/: a file may include headers of its own room and of rooms with a lower rank. The three
-- rooms over ops are neighbours; only io reaches over, to name layers in model files.
local rank = { base = 1, kernels = 2, tensor = 3, autograd = 4, ops = 5, layers = 6, optim = 6, io = 7, binding = 8 }
local private_headers = {
    { names = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["forger_lua.h"] = true }, room = "binding" },
    { names = { ["immintrin.h"] = true, ["arm_neon.h"] = true, ["x86intrin.h"] = true }, room = "kernels" },
}
local heap_calls = { "malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "strdup", "strndup" }
local forbidden_calls = { "exit", "abort", "printf", "puts", "putchar", "perror" } -- the core never exits, aborts, prints

local failures = 0
local function fail(file, line, rule, message)
    failures = failures + 1
    print(string.format("%s:%d: %s: %s", file, line, rule, message))
end

local function files(command)
    local list, pipe = {}, assert(io.popen(command .. " 2>/dev/null | LC_ALL=C sort"))
    for name in pipe:lines() do list[#list + 1] = name end
    pipe:close()
    return list
end

local function read(name)
    local f = assert(io.open(name, "rb"))
    local text = f:read("a")
    f:close()
    return text
end

local function blank(s) return (s:gsub("[^\n]", " ")) end

-- Walks the text once; at each position the first opener that matches is skipped up to its closer.
local function strip(text, openers)
    local out, i = {}, 1
    while i <= #text do
        local skipped
        for _, o in ipairs(openers) do
            local s, e, level = text:find("^" .. o.open, i)
            if s then
                local closer = type(o.close) == "function" and o.close(level) or o.close
                local j = e + 1
                while j <= #text do
                    if o.escape and text:sub(j, j) == "\\" then
                        j = j + 2
                    elseif text:find("^" .. closer, j) then
                        local _, last = text:find("^" .. closer, j)
                        skipped = o.keep_newline and last - 1 or last
                        break
                    else
                        j = j + 1
                    end
                end
                skipped = skipped or #text
                break
            end
        end
        if skipped then
            out[#out + 1] = blank(text:sub(i, skipped))
            i = skipped + 1
        else
            out[#out + 1] = text:sub(i, i)
            i = i + 1
        end
    end
    return table.concat(out)
end

local function strip_c(text)
    return strip(text, {
        { open = "/%*", close = "%*/" },
        { open = "//", close = "\n", keep_newline = true },
        { open = '"', close = '"', escape = true },
        { open = "'", close = "'", escape = true },
    })
end

local function strip_lua(text)
    local function long(level) return "%]" .. level .. "%]" end
    return strip(text, {
        { open = "%-%-%[(=*)%[", close = long },
        { open = "%-%-", close = "\n", keep_newline = true },
        { open = "%[(=*)%[", close = long },
        { open = '"', close = '"', escape = true },
        { open = "'", close = "'", escape = true },
    })
end

local function each_line(text, fn)
    local n = 0
    for line in (text .. "\n"):gmatch("(.-)\n") do
        n = n + 1
        fn(line, n)
    end
end

-- Does the name occur as a word that is no field (x.name, x->name, x:name)? `after` is a pattern for what follows.
local function names_word(line, word, after)
    local from = 1
    while true do
        local s, e = line:find("%f[%w_]" .. word .. "%f[^%w_]" .. after, from)
        if not s then return false end
        local before = line:sub(1, s - 1):gsub("%s+$", "")
        if not (before:match("%->$") or before:match("[^.]%.$") or before:match("^%.$") or before:match(":$")) then return true end
        from = e + 1
    end
end

-- ---- file names and sizes --------------------------------------------------------------------------------------
local tree = files "find src include lua bin tests examples rockspec -type f"
local seen, room_of = {}, {}
for _, file in ipairs(tree) do
    local name = file:match("[^/]+$")
    local source = name:match("%.[ch]$") or name:match("%.lua$") or name:match("%.def$") or name:match("%.sh$") or name:match("%.py$")
    if source and name ~= "init.lua" then
        if seen[name] then fail(file, 1, "unique-name", "same file name as " .. seen[name]) end
        seen[name] = file
    end
    if source or file == "bin/forger" then
        local _, lines = read(file):gsub("\n", "")
        if lines > MAX_LINES then
            fail(file, lines, "file-size", string.format("%d lines, at most %d: split it along an idea", lines, MAX_LINES))
        end
    end
    if file:match("^src/") then
        local room = file:match("^src/([^/]+)/") or ""
        room_of[name] = room
        if not rank[room] then fail(file, 1, "rooms", "lies in no room of src/") end
    elseif file:match("^include/") then
        room_of[name] = "include"
    end
end

-- ---- C: dependency arrows, private headers, heap and process calls ----------------------------------------------
for _, file in ipairs(files "find src -name '*.[ch]' -o -name '*.def'") do
    local room = file:match("^src/([^/]+)/")
    local text = read(file)
    each_line(text, function(line, n)
        local name = line:match('^%s*#%s*include%s*[<"]([^>"]+)[>"]')
        if not name then return end
        local base = name:match("[^/]+$")
        for _, private in ipairs(private_headers) do
            if private.names[base] and room ~= private.room then
                fail(file, n, "private-header", base .. " may only be included in src/" .. private.room)
            end
        end
        local other = room_of[base]
        if line:match('include%s*"') and not other then
            fail(file, n, "arrows", '"' .. name .. '" is no file of src/ or include/')
        elseif other and other ~= "include" and other ~= room and rank[room] and rank[other] >= rank[room] then
            fail(file, n, "arrows", string.format("src/%s may not include %s of src/%s", room, base, other))
        elseif (room == "optim" and other == "layers") or (room == "layers" and other == "optim") then
            fail(file, n, "arrows", "layers and optim never include each other")
        end
    end)
    each_line(strip_c(text), function(line, n)
        if room ~= "base" then
            for _, word in ipairs(heap_calls) do
                if names_word(line, word, "%s*%(") then fail(file, n, "heap", word .. "() may only be called in src/base") end
            end
        end
        for _, word in ipairs(forbidden_calls) do
            if names_word(line, word, "%s*%(") then fail(file, n, "process", word .. "(): the library never exits, aborts or prints") end
        end
    end)
end

-- ---- Lua: order and randomness that differ from run to run --------------------------------------------------------
for _, file in ipairs(files "find lua/forger -name '*.lua'") do
    each_line(strip_lua(read(file)), function(line, n)
        if names_word(line, "pairs", "") then fail(file, n, "pairs", "the order of pairs differs from run to run; walk a sorted list") end
        if line:find("%f[%w_]math%s*%.%s*random") then fail(file, n, "random", "math.random is no stream of ours; use fg.rand and friends") end
    end)
end

if failures > 0 then
    print(failures .. " house rule violation(s)")
    os.exit(1)
end
