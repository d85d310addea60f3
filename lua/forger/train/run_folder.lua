--- The folder a run writes. Files a reader opens appear whole or not at all (written to a temporary name, renamed);
--- log.txt and stats.jsonl grow by whole lines.
---
---   options.json   every setting of the run            log.txt     what happened when; the only file with timings
---   stats.jsonl    one JSON object a step; holds nothing that depends on the clock, so equal runs give equal bytes
local core = require "forger.core"
local words = require "forger.words"

---@class forger.train.RunFolder
local RunFolder = {}
RunFolder.__index = RunFolder

local FLUSH_BYTES = 65536

local function check(ok, message)
  if not ok then
    error(message, 0)
  end
  return ok
end

--- The first of PATH, PATH-2, PATH-3, ... that does not exist.
---@param path string
---@return string
local function next_free(path)
  local candidate, i = path, 1
  while core.exists(candidate) do
    i = i + 1
    candidate = path .. "-" .. i
  end
  return candidate
end

--- Makes the folder. Raises one line that names the path when it cannot be written. Pictures, stats.jsonl and log.txt of
--- an earlier run in the same folder are removed, so that the folder shows one run.
---@param path string
---@return forger.train.RunFolder
local function open(path)
  check(core.mkdirs(path))
  local self = setmetatable({ path = path, pending = {}, pending_bytes = 0, started = core.clock() }, RunFolder)
  check(core.write_file(self:file(".writable"), ""))
  check(core.remove(self:file(".writable")))
  for _, name in ipairs(check(core.list_dir(path))) do
    if name:match("^fakes%d+%.png$") or name == "reals.png" or name == "stats.jsonl" or name == "log.txt" then
      check(core.remove(self:file(name)))
    end
  end
  return self
end

--- A file's path in the folder.
---@param name string
---@return string
function RunFolder:file(name)
  return self.path .. "/" .. name
end

--- Writes a whole file.
---@param name string
---@param text string
function RunFolder:write(name, text)
  check(core.write_file(self:file(name), text))
end

--- Adds a line to log.txt, with the seconds since the run began.
---@param text string
function RunFolder:log(text)
  local line = words.number("%9.2f", core.clock() - self.started) .. "  " .. text .. "\n"
  check(core.append_file(self:file("log.txt"), line))
end

--- Adds one record to stats.jsonl. Lines are gathered and written in blocks: `flush` writes what is left.
---@param line string one JSON object without line end
function RunFolder:stats(line)
  self.pending[#self.pending + 1] = line .. "\n"
  self.pending_bytes = self.pending_bytes + #line + 1
  if self.pending_bytes >= FLUSH_BYTES then
    self:flush()
  end
end

--- Writes the records that are still waiting to stats.jsonl.
function RunFolder:flush()
  if #self.pending > 0 then
    check(core.append_file(self:file("stats.jsonl"), table.concat(self.pending)))
    self.pending, self.pending_bytes = {}, 0
  end
end

return { open = open, next_free = next_free }
