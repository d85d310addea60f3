--- A progress line on stderr in tqdm's manner.
---
---     step 1234/5000  25%|##        | 42.1 it/s ETA 1:29  D 1.23 G 0.98  D(x) 0.71 D(G(z)) 0.29
---
--- On a terminal the line is redrawn in place, at most ten times a second, trimmed to the terminal's width.
--- Elsewhere (a file, a pipe, a CI log) a plain line comes every few seconds. NO_COLOR switches the colour of the
--- bar off. Everything that depends on the machine is passed in, so that tests can hold the clock.
local words = require "forger.words"

---@class forger.train.Progress
local Progress = {}
Progress.__index = Progress

local BAR = 10

--- options: total (steps); label ("step"); out (function(text), default stderr); terminal (boolean); columns (function
--- giving the width or nil); clock (function, seconds); color (boolean); interval and plain_interval (seconds).
--- What is not given comes from the core and the environment.
---@param options table
---@return forger.train.Progress
local function new(options)
  options = words.check_options("train.progress", options,
    { "total", "label", "out", "terminal", "columns", "clock", "color", "interval", "plain_interval" })
  local self = setmetatable({}, Progress)
  self.total = options.total
  self.label = options.label or "step"
  self.out, self.terminal, self.columns = options.out, options.terminal, options.columns
  self.clock, self.color = options.clock, options.color
  if not (self.clock and self.out and self.columns and self.terminal ~= nil and self.color ~= nil) then
    local core = require "forger.core"
    self.clock = self.clock or core.clock
    self.columns = self.columns or function()
      return core.terminal_columns(2)
    end
    if self.terminal == nil then
      self.terminal = core.is_terminal(2) and core.getenv("TERM") ~= "dumb"
    end
    if self.color == nil then
      local no_color = core.getenv("NO_COLOR")
      self.color = self.terminal and (no_color == nil or no_color == "")
    end
    self.out = self.out or function(text)
      if io and io.stderr then
        io.stderr:write(text)
      else
        core.write_stderr(text)
      end
    end
  end
  self.interval = options.interval or 0.1
  self.plain_interval = options.plain_interval or 5
  self.started = self.clock()
  self.last_time, self.last_step = self.started, 0
  self.first_plain = math.min(2, self.plain_interval)
  self.shown = false
  self.current = 0
  return self
end

--- Steps per second: smoothed over the last lines, the mean of all until there are some.
function Progress:measure(step, now)
  local elapsed = now - self.last_time
  if elapsed > 0 and step > self.last_step then
    local rate = (step - self.last_step) / elapsed
    self.rate = self.rate and (0.3 * rate + 0.7 * self.rate) or rate
    self.last_time, self.last_step = now, step
  end
end

--- The line for a step: place, share, bar on a terminal, rate, time left, text.
---@param step integer
---@param text string
---@param now number seconds on the clock
---@return string head, string bar, string tail
function Progress:line(step, text, now)
  local done = self.total and self.total > 0 and math.min(1, step / self.total) or 0
  local hashes = math.floor(done * BAR + 0.5)
  local left = self.rate and self.total and (self.total - step) / self.rate
  local rate = self.rate
  local speed = not rate and "? it/s" or rate >= 1 and words.number("%.1f", rate) .. " it/s"
    or words.number("%.2f", 1 / rate) .. " s/it"
  local head = self.label .. " " .. step .. "/" .. (self.total or "?") .. "  " .. string.format("%3d", math.floor(done * 100)) .. "%"
  local bar = string.rep("#", hashes) .. string.rep(" ", BAR - hashes)
  local tail = speed .. (step >= (self.total or math.huge) and " in " .. words.duration(now - self.started)
    or " ETA " .. (left and words.duration(left) or "?")) .. (text and text ~= "" and "  " .. text or "")
  return head, bar, tail
end

--- Tells how far the work is. Cheap when nothing is due: pass `text` as a function to format only what is shown.
---@param step integer steps done
---@param text string|fun(): string losses and the like
function Progress:update(step, text)
  local now = self.clock()
  self.current, self.text = step, text
  local since = now - self.last_time
  local due = self.terminal and (since >= self.interval or not self.shown)
    or not self.terminal and since >= (self.shown and self.plain_interval or self.first_plain)
  if due then
    self:measure(step, now)
    self:draw(now)
  end
end

--- Writes the newest line, in place on a terminal.
---@param now number seconds on the clock
function Progress:draw(now)
  local text = self.text
  if type(text) == "function" then
    text = text()
  end
  local head, bar, tail = self:line(self.current, text, now)
  self.shown, self.drawn = true, self.current
  if not self.terminal then
    self.out(head .. " " .. tail .. "\n")
    return
  end
  local width = (self.columns() or 80) - 1
  local plain = head .. "|" .. bar .. "| " .. tail
  if #plain > width then
    plain = plain:sub(1, math.max(0, width))
  end
  if self.color and #plain > #head + 1 + BAR then
    plain = head .. "|\27[32m" .. bar .. "\27[0m|" .. plain:sub(#head + BAR + 3)
  end
  self.out("\r" .. plain .. "\27[K")
end

--- Writes a line of its own; the bar comes back below it.
---@param text string
function Progress:message(text)
  if self.terminal and self.shown then
    self.out("\r\27[K" .. text .. "\n")
    self:draw(self.clock())
  else
    self.out(text .. "\n")
  end
end

--- Draws the last state and ends the line.
function Progress:finish()
  local now = self.clock()
  if self.current > 0 and (self.terminal or self.drawn ~= self.current) then
    self.rate = now > self.started and self.current / (now - self.started) or self.rate
    self:draw(now)
  end
  if self.terminal and self.shown then
    self.out("\n")
  end
  self.shown = false
end

return { new = new }
