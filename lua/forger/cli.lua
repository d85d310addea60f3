--- Options of command-line scripts: `--long-option value`, `--flag`, `--help`.
---
--- A script declares its options once, in order; help text, defaults and checks come from that list:
---
---     os.exit(cli.main(function(opt)
---       train(opt.steps, opt.seed)
---     end, {
---       name = "toy.lua", about = "Trains a toy.",
---       options = cli.common({ steps = 500 }, { { "shape", choices = { "ring", "spiral" }, default = "ring", help = "..." } }),
---     }, arg))
---
--- `main` never ends the process: it returns the exit code. 0 done, 1 failed (one line on stderr, no traceback
--- unless FORGER_TRACEBACK is set), 2 wrong usage, 130 interrupted.
local words = require "forger.words"

local cli = {}

---@class forger.cli.Option
---@field [1] string long name without dashes; `--d-steps` is read as opt.d_steps
---@field type "int"|"number"|"string"|"choice"|"flag"|nil nil: choice with choices, else from default, else flag
---@field default any nil: opt.NAME stays nil unless given
---@field choices string[]?
---@field min number?
---@field max number?
---@field above number? the value must be greater than this
---@field value string? what the help text calls the value
---@field help string

-- Options that mean the same in every script. `cli.common` fills in a script's defaults.
local COMMON = {
  { "data", type = "string", value = "DIR", help = "folder with the data set" },
  { "out", type = "string", value = "DIR", help = "folder for the run's files (default: runs/NAME, the next free one)" },
  { "steps", type = "int", min = 0, value = "N", help = "training steps: D updates, then G updates" },
  { "epochs", type = "int", min = 1, value = "N", help = "instead of --steps: passes over the real images" },
  { "batch", type = "int", min = 1, value = "N", help = "images per minibatch" },
  { "seed", type = "int", default = 1, value = "N", help = "seed of every random stream" },
  { "threads", type = "int", min = 1, max = 64, value = "N", help = "threads (default: the cores this process may use)" },
  { "precision", choices = { "f32", "bf16", "auto" }, help = "number format of activations and products; auto is bf16 where that is faster" },
  { "d-steps", type = "int", min = 1, value = "K", help = "updates of D per step" },
  { "loss", type = "string", value = "NAME", help = "loss of the game" },
  { "real-label", type = "number", above = 0, max = 1, value = "P", help = "D's target for real images; 0.9 smooths" },
  { "lr", type = "number", above = 0, value = "X", help = "D's learning rate; G's keeps the preset's ratio to it" },
  { "g-lr", type = "number", above = 0, value = "X", help = "G's learning rate" },
  { "d-lr", type = "number", above = 0, value = "X", help = "D's learning rate" },
  { "sample-every", type = "int", min = 0, value = "N", help = "steps between pictures; 0: only the last" },
}

local function field(option)
  return (option[1]:gsub("%-", "_"))
end

local function copy(option)
  local c = {}
  for _, key in ipairs(words.sorted_keys(option)) do
    c[key] = option[key]
  end
  return c
end

local function kind_of(option)
  if option.type then
    return option.type
  elseif option.choices then
    return "choice"
  elseif math.type(option.default) == "integer" then
    return "int"
  elseif type(option.default) == "number" then
    return "number"
  elseif type(option.default) == "string" then
    return "string"
  end
  return "flag"
end

--- The common options with a script's defaults, then the script's own.
---@param defaults table<string, any> by field name (d_steps); `false` leaves that option out; for `loss` a list of
---                choices whose first is the default
---@param own forger.cli.Option[]?
---@return forger.cli.Option[]
function cli.common(defaults, own)
  local list, known = {}, {}
  for _, option in ipairs(COMMON) do
    local key = field(option)
    known[#known + 1] = key
    if defaults[key] ~= false then
      local o = copy(option)
      local default = defaults[key]
      if type(default) == "table" then
        o.type, o.choices, o.default = "choice", default, default[1]
      elseif default ~= nil then
        o.default = default
      end
      list[#list + 1] = o
    end
  end
  words.check_options("cli.common", defaults, known)
  for _, option in ipairs(own or {}) do
    list[#list + 1] = option
  end
  return list
end

--- D's and G's learning rate from --lr, --d-lr and --g-lr: `--lr X` sets D's and keeps the preset's ratio.
---@param opt table parsed options
---@param d_lr number the preset's rate of D
---@param g_lr number the preset's rate of G
---@return number d_lr
---@return number g_lr
function cli.rates(opt, d_lr, g_lr)
  local ratio = g_lr / d_lr
  local d = opt.d_lr or opt.lr or d_lr
  return d, opt.g_lr or (opt.lr and opt.lr * ratio) or g_lr
end

--- Applies --threads, --precision and --seed, those of them that `opt` has.
---@param opt table parsed options
function cli.set_up(opt)
  local fg = require "forger"
  if opt.threads then
    fg.set_threads(opt.threads)
  end
  if opt.precision then
    fg.set_precision(opt.precision)
  end
  if opt.seed then
    fg.manual_seed(opt.seed)
  end
end

local function convert(option, text)
  local kind = kind_of(option)
  local who = "--" .. option[1]
  if kind == "string" then
    if text == "" then
      return nil, who .. " needs a " .. (option.value or "value")
    end
    return text
  elseif kind == "choice" then
    for _, choice in ipairs(option.choices) do
      if choice == text then
        return text
      end
    end
    return nil, who .. " must be one of " .. table.concat(option.choices, ", ") .. "; got '" .. text .. "'"
      .. words.suggestion(text, option.choices)
  end
  local value = text:match("^%s*[-+%d.]") and tonumber((text:gsub("^%+", "")))
  if kind == "int" then
    value = value and math.tointeger(value)
  end
  if not value or value ~= value or value == math.huge or value == -math.huge then
    return nil, who .. " needs a " .. (kind == "int" and "whole number" or "number") .. ", got '" .. text .. "'"
  elseif option.min and value < option.min then
    return nil, who .. " must be at least " .. option.min .. ", got " .. text
  elseif option.max and value > option.max then
    return nil, who .. " must be at most " .. option.max .. ", got " .. text
  elseif option.above and value <= option.above then
    return nil, who .. " must be greater than " .. option.above .. ", got " .. text
  end
  return value
end

--- Reads a list of arguments.
---@param options forger.cli.Option[]
---@param args string[] as Lua's `arg`
---@return table? opt values by field name, defaults filled in; opt.given lists what was on the line
---@return string? message what is wrong, one line
function cli.parse(options, args)
  local by_name, names = {}, { "--help" }
  local opt = { given = {} }
  for _, option in ipairs(options) do
    by_name["--" .. option[1]] = option
    names[#names + 1] = "--" .. option[1]
    opt[field(option)] = option.default
    if kind_of(option) == "flag" then
      opt[field(option)] = false
    end
  end
  local i = 1
  while i <= #args do
    local word = args[i]
    local name, value = word:match("^(%-%-[^=]+)=(.*)$")
    name = name or word
    if name == "--help" or name == "-h" then
      opt.help = true
      return opt
    end
    local option = by_name[name]
    if not option then
      if name:sub(1, 1) ~= "-" then
        return nil, "unexpected argument '" .. word .. "'"
      end
      return nil, "unknown option '" .. name .. "'" .. words.suggestion(name, names)
    end
    if kind_of(option) == "flag" then
      if value then
        return nil, name .. " takes no value"
      end
      opt[field(option)] = true
    else
      if not value then
        i = i + 1
        value = args[i]
        if not value or by_name[value] then
          return nil, name .. " needs a value (" .. (option.value or kind_of(option)) .. ")"
        end
      end
      local converted, message = convert(option, value)
      if message then
        return nil, message
      end
      opt[field(option)] = converted
    end
    opt.given[field(option)] = true
    i = i + 1
  end
  return opt
end

local function wrap(text, width, indent)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and #line + 1 + #word > width then
      lines[#lines + 1] = line
      line = word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. string.rep(" ", indent))
end

local function shown(value)
  if type(value) == "number" and math.type(value) == "float" then
    return words.number("%.6g", value)
  end
  return tostring(value)
end

--- The help text of a declaration.
---@param spec {name: string, about: string, options: forger.cli.Option[], notes: string?}
---@return string
function cli.help(spec)
  local out = { "usage: lua5.4 " .. spec.name .. " [options]\n\n" .. wrap(spec.about, 96, 0) .. "\n\noptions:\n" }
  local rows, column = { { "--help", "this text" } }, 10
  for _, option in ipairs(spec.options) do
    local left = "--" .. option[1]
    local kind = kind_of(option)
    local help = option.help
    if kind == "choice" then
      left = left .. " " .. (option.value or "NAME")
      help = help .. ": " .. table.concat(option.choices, ", ")
    elseif kind ~= "flag" then
      left = left .. " " .. (option.value or (kind == "string" and "TEXT" or kind == "int" and "N" or "X"))
    end
    if kind ~= "flag" and option.default ~= nil then
      help = help .. " (default: " .. shown(option.default) .. ")"
    end
    rows[#rows + 1] = { left, help }
    column = math.max(column, #left)
  end
  for _, row in ipairs(rows) do
    out[#out + 1] = "  " .. row[1] .. string.rep(" ", column + 2 - #row[1]) .. wrap(row[2], 92 - column, column + 4) .. "\n"
  end
  if spec.notes then
    out[#out + 1] = "\n" .. wrap(spec.notes, 96, 0) .. "\n"
  end
  return table.concat(out)
end

-- "dir/file.lua:12: text" -> "text"; several lines become one. Places in data files stay: they name the culprit.
local function one_line(message)
  if type(message) ~= "string" then
    message = tostring(message)
  end
  message = message:gsub("^[^\n]-%.lua:%d+: ", ""):gsub("^%[string .-%]:%d+: ", ""):gsub("^%(command line%):%d+: ", "")
  return (message:gsub("%s*\n%s*", " "))
end

--- Runs a script's body with its options and gives the exit code back; the caller ends the process.
--- `body(opt)` may return nothing, an exit code, or a table with `interrupted = true` (what Trainer:run returns).
---@param body fun(opt: table): any
---@param spec {name: string, about: string, options: forger.cli.Option[], notes: string?}
---@param args string[]?
---@param streams {out: fun(text: string), err: fun(text: string)}? where text goes; default: stdout and stderr
---@return integer code 0 done, 1 failed, 2 usage, 130 interrupted
function cli.main(body, spec, args, streams)
  local out = streams and streams.out or function(text)
    io.stdout:write(text)
  end
  local err = streams and streams.err or function(text)
    io.stdout:flush()
    io.stderr:write(text)
  end
  local opt, message = cli.parse(spec.options, args or {})
  if not opt then
    err(spec.name .. ": " .. message .. " (--help lists the options)\n")
    return 2
  elseif opt.help then
    out(cli.help(spec))
    return 0
  end
  local function caught(e)
    if os and debug and os.getenv("FORGER_TRACEBACK") then
      err(debug.traceback(tostring(e), 2) .. "\n")
    end
    return { error = e }
  end
  local ok, result = xpcall(body, caught, opt)
  if ok then
    if type(result) == "table" then
      return result.interrupted and 130 or 0
    end
    return math.type(result) == "integer" and result or 0
  end
  local e = result.error
  if type(e) == "table" and e.usage then
    err(spec.name .. ": " .. e.usage .. " (--help lists the options)\n")
    return 2
  end
  local text = one_line(e)
  if text == "interrupted!" then -- what lua's own Ctrl-C handler raises
    err(spec.name .. ": interrupted\n")
    return 130
  end
  err(spec.name .. ": " .. text .. "\n")
  return 1
end

--- Ends the body with a usage error (exit code 2), for checks that no single option can state.
---@param message string one line
function cli.usage_error(message)
  error({ usage = message }, 0)
end

return cli
