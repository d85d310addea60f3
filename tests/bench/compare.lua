-- Forger against PyTorch, Keras and JAX on the same training steps; `make bench-peers` runs it.
--
--   lua5.4 tests/bench/compare.lua [NAME=value ...]      (the same names work as make variables)
--
--   WORKS="book toy"   which works (all; `python3 tests/bench/peers.py --help` describes them)
--   PRECISIONS="f32"   f32, bf16 (both)
--   PEERS="torch:eager keras"  frameworks, or framework:mode (all)
--   SKIP="jax@book"    frameworks, or framework:mode, not to run for a work; the table says so
--   ROUNDS=3  SECONDS=5  THREADS=2     rounds, length of one measurement, threads of both sides
--   SAVE=1             writes the table to docs/benchmarks.md
--   BUILD=build        where the peers' environments are made, once
--   PEERS_TORCH=, PEERS_JAX=, PEERS_TF=  python interpreters that have the packages; no environment is made then
--
-- Per work and round, Forger and the peers run one after the other in processes of their own. The table holds medians over
-- the rounds and goes to stdout; each measurement, and why one is missing, to stderr. A mode that took over twice the
-- time of the best peer in the first round is not run again: its one measurement stands.
local here = arg[0]:match("^(.*/)[^/]*$") or "./"
local fg = require "forger"
local figures = dofile(here .. "peers_table.lua")

local WORKS = { "demo", "book", "dcgan64", "wgangp", "mlp", "toy", "tiny", "sample1", "sample64" }
local PRECISIONS = { "f32", "bf16" }
local MODES = {
  { "torch", "eager" }, { "torch", "eager-nchw" }, { "torch", "compile" }, { "keras", "eager" }, { "keras", "xla" }, { "jax", "eager" },
  { "torch", "bf16" }, { "torch", "bf16-nchw" }, { "torch", "compile-bf16" }, { "keras", "bf16" }, { "keras", "xla-bf16" }, { "jax", "bf16" },
}
local JAX = "torch" -- JAX shares PyTorch's environment; TensorFlow's has other needs
local ENVIRONMENTS = {
  torch = { "torch==2.15.*", "jax==0.10.*", "optax==0.2.*", "numpy==2.4.*" },
  tf = { "tensorflow-cpu==2.21.*", "keras==3.15.*" },
}
local LIMIT = 900 -- seconds after which a mode counts as failed
local PAGE = "docs/benchmarks.md"

local function say(...)
  io.stderr:write(string.format(...), "\n")
end
local function give_up(code, ...)
  io.stderr:write("compare.lua: ", string.format(...), "\n")
  os.exit(code)
end

-- ---------------------------------------------------------------- options
local opt = { ROUNDS = "3", SECONDS = "5", THREADS = "2", BUILD = "build", SAVE = "", WORKS = "", PRECISIONS = "", PEERS = "", SKIP = "" }
for _, name in ipairs { "PEERS_TORCH", "PEERS_JAX", "PEERS_TF" } do
  opt[name] = os.getenv(name) or ""
end
for _, word in ipairs(arg) do
  local name, value = word:match "^([%u_]+)=(.*)$"
  if not opt[name or ""] then
    give_up(2, "unknown option '%s' (the head of %s lists them)", word, arg[0])
  end
  opt[name] = value
end
for _, name in ipairs { "ROUNDS", "SECONDS", "THREADS" } do
  local n = tonumber(opt[name])
  if not n or n <= 0 or (name ~= "SECONDS" and n % 1 ~= 0) then
    give_up(2, "%s=%s is no positive %s", name, opt[name], name == "SECONDS" and "number" or "integer")
  end
  opt[name] = name == "SECONDS" and n or math.tointeger(n)
end

-- The words of `text`, each one of `known`; all of `known` when there are none.
local function choose(name, text, known)
  local list, set = {}, {}
  for _, word in ipairs(known) do
    set[word] = true
  end
  for word in text:gmatch "%S+" do
    if not set[word] then
      give_up(2, "%s: unknown '%s', expected some of: %s", name, word, table.concat(known, " "))
    end
    list[#list + 1] = word
  end
  return #list > 0 and list or known
end
local works = choose("WORKS", opt.WORKS, WORKS)
local precisions = choose("PRECISIONS", opt.PRECISIONS, PRECISIONS)

local peer_words = { "torch", "keras", "jax" }
for _, m in ipairs(MODES) do
  peer_words[#peer_words + 1] = m[1] .. ":" .. m[2]
end
local wanted, filter = {}, opt.PEERS:match "%S" and choose("PEERS", opt.PEERS, peer_words) or { "torch", "keras", "jax" }
for _, word in ipairs(filter) do
  wanted[word] = true
end

-- skipped["jax@book"]: not run, whatever it is called by
local skipped, skip_words = {}, {}
for word in opt.SKIP:gmatch "%S+" do
  local who, work = word:match "^([^@]+)@([^@]+)$"
  if not who then
    give_up(2, "SKIP: '%s' is not of the form framework@work or framework:mode@work", word)
  end
  choose("SKIP", who, peer_words)
  choose("SKIP", work, WORKS)
  skipped[word] = true
  skip_words[#skip_words + 1] = word
end

-- ---------------------------------------------------------------- the peers' environments
local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end
local function read(path)
  local f = io.open(path, "rb")
  local text = f and f:read "a"
  if f then
    f:close()
  end
  return text
end
local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  assert(f:close())
end

-- The interpreter of environment `name`, which is made unless its note says that it holds these versions.
local function environment(name)
  local dir, packages = opt.BUILD .. "/peers/" .. name, table.concat(ENVIRONMENTS[name], " ")
  local python, note = dir .. "/bin/python", dir .. "/installed"
  if read(note) ~= packages .. "\n" then
    say("Installing into %s, once: %s", dir, packages)
    say("Both environments take about 8 GB. PEERS_TORCH=, PEERS_JAX= and PEERS_TF= name interpreters to use instead.")
    local quoted = {}
    for i, package in ipairs(ENVIRONMENTS[name]) do
      quoted[i] = quote(package)
    end
    local made = os.execute("mkdir -p " .. quote(dir) .. " && python3 -m venv " .. quote(dir) .. " && " .. quote(python)
      .. " -m pip --disable-pip-version-check install " .. table.concat(quoted, " ") .. " 1>&2")
    if not made then
      give_up(1, "could not install the peers into %s", dir)
    end
    write(note, packages .. "\n")
  end
  return python
end

local pythons = {}
local function python_of(fw)
  if not pythons[fw] then
    local given = fw == "torch" and opt.PEERS_TORCH or fw == "jax" and opt.PEERS_JAX or opt.PEERS_TF
    pythons[fw] = given ~= "" and given or environment(fw == "keras" and "tf" or fw == "jax" and JAX or fw)
  end
  return pythons[fw]
end

-- ---------------------------------------------------------------- measuring
local lua = arg[-1]
local scratch = os.tmpname()
local highest_load

local function note_load()
  local now = tonumber((read "/proc/loadavg" or ""):match "^(%S+)")
  highest_load = now and math.max(highest_load or now, now)
  return now
end
local first_load = note_load()

-- Runs one contender and gives its decoded JSON line, or nil and the reason.
local function measure(fw, mode, work)
  local script = fw == "forger" and quote(lua) .. " " .. quote(here .. "step.lua")
    or quote(python_of(fw)) .. " " .. quote(here .. "peers.py") .. " --fw " .. fw
  note_load()
  local pipe = assert(io.popen(string.format("timeout %d %s --work %s --mode %s --threads %d --seconds %s 2>%s", LIMIT, script, work, mode,
    opt.THREADS, opt.SECONDS, quote(scratch))))
  local out = pipe:read "a"
  local _, _, code = pipe:close()
  local line = out:match "([^\n]+)\n*$"
  local result = line and fg.json.decode(line)
  if code == 0 and type(result) == "table" and result.ms then
    return result
  end
  if code == 124 then
    return nil, "took more than " .. LIMIT .. " seconds"
  end
  return nil, figures.reason(read(scratch) or "") or "ended with status " .. tostring(code)
end

-- Contenders of a work in a precision, Forger first. Modes that mean nothing for the work are left out.
local function contenders(work, precision)
  local list = { { "forger", precision } }
  for _, m in ipairs(MODES) do
    local fw, mode = m[1], m[2]
    local chosen = (wanted[fw] or wanted[fw .. ":" .. mode])
      and not (skipped[fw .. "@" .. work] or skipped[fw .. ":" .. mode .. "@" .. work])
    local means = not (mode:find("nchw", 1, true) and figures.dense(work)) and not (fw == "jax" and work == "demo")
    if chosen and means and figures.precision(mode) == precision then
      list[#list + 1] = { fw, mode }
    end
  end
  return list
end

local results, versions, failed = {}, {}, false

local function run_work(work)
  local best, skip = {}, {} -- best peer of the first round per precision; contenders not to run again
  for round = 1, opt.ROUNDS do
    local first = {}
    for _, precision in ipairs(precisions) do
      for _, c in ipairs(contenders(work, precision)) do
        local fw, mode = c[1], c[2]
        local id = fw .. " " .. mode
        if not skip[id] then
          local name = fw == "forger" and "Forger" or figures.name(fw, mode, work)
          local r, why = measure(fw, mode, work)
          if r then
            results[#results + 1] = r
            versions[fw] = r.version
            versions.isa = r.isa or versions.isa
            say("%-8s %-4s round %d  %10.3f ms  %5d MB  %s", work, precision, round, r.ms, r.rss_mb, name)
            if fw ~= "forger" then
              first[#first + 1] = { id = id, precision = precision, ms = r.ms }
              best[precision] = math.min(best[precision] or r.ms, r.ms)
            end
          else
            say("%-8s %-4s %s: left out: %s", work, precision, name, why)
            skip[id] = true
            failed = failed or fw == "forger"
          end
        end
      end
    end
    for _, f in ipairs(round == 1 and first or {}) do
      skip[f.id] = f.ms > 2 * best[f.precision]
    end
  end
end

for _, fw in ipairs { "torch", "keras", "jax" } do -- all installing comes before all measuring
  for _, m in ipairs(MODES) do
    if m[1] == fw and (wanted[fw] or wanted[fw .. ":" .. m[2]]) then
      python_of(fw)
    end
  end
end
for _, work in ipairs(works) do
  run_work(work)
end
os.remove(scratch)

-- ---------------------------------------------------------------- the table
local function circumstances()
  local cpu = (read "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or "unknown processor"
  local peers = {}
  for _, p in ipairs { { "torch", "PyTorch " }, { "keras", "" }, { "jax", "JAX " } } do
    if versions[p[1]] then
      peers[#peers + 1] = p[2] .. versions[p[1]]:gsub("^keras", "Keras"):gsub(" tf ", " on TensorFlow ")
    end
  end
  local load = first_load and string.format("; load average %.2f before, %.2f at most (the measurement's own threads included)", first_load,
    highest_load) or ""
  return string.format("%s, %s, instructions %s, %d thread%s%s. Forger %s; %s. %d round%s of %g seconds.", os.date "!%Y-%m-%d", cpu,
    versions.isa or "unknown", opt.THREADS, opt.THREADS == 1 and "" or "s", load, versions.forger or "unknown", table.concat(peers, ", "),
    opt.ROUNDS, opt.ROUNDS == 1 and "" or "s", opt.SECONDS)
end

local rows = figures.rows(results, works, precisions)
local text = circumstances() .. "\n\n" .. figures.format(rows) .. "\n" .. figures.verdict(rows) .. "\n"
if #skip_words > 0 then
  text = text .. "\nNot run: " .. table.concat(skip_words, ", ") .. ".\n"
end
if highest_load and highest_load > opt.THREADS + 1 then
  text = text .. "\nThe machine was busy with other work: these figures are worth little.\n"
end
io.write(text)
if opt.SAVE ~= "" and opt.SAVE ~= "0" then
  write(PAGE, assert(figures.replace(assert(read(PAGE), PAGE .. " is missing"), "## Figures\n\n" .. text)))
  say("written to %s", PAGE)
end
os.exit(failed and 1 or 0)
