--- What a training run leaves in its folder: pictures, plots and model files.
local core = require "forger.core"
local fg = require "forger"
local viz = require "forger.viz"
local words = require "forger.words"

local report = {}

local function check(ok, message)
  if not ok then
    error(message, 0)
  end
end

local function is_picture(t)
  local c = t.ndim == 4 and t:size(4)
  return c == 1 or c == 3 or c == 4
end

--- A grid of images as a PNG file. Nothing is written for data that are no pictures [N,H,W,C].
---@param path string
---@param images forger.Tensor
---@param range number[] values shown as black and white
function report.grid(path, images, range)
  if is_picture(images) then
    fg.scope(function()
      local n = images:size(1)
      local grid = fg.image.grid(images, { cols = math.ceil(math.sqrt(n)), pad = 2, range = range })
      check(fg.image.write_png(path, grid))
    end)
  end
end

--- The two networks as files. The generator file is the one to sample from: the average if there is one, and the
--- latent prior with it.
---@param folder forger.train.RunFolder
---@param G forger.nn.Module
---@param D forger.nn.Module
function report.models(folder, G, D)
  check(G:save(folder:file("generator.safetensors")))
  check(D:save(folder:file("discriminator.safetensors")))
end

local function level(y, text)
  return y and { y = y, name = text .. " " .. words.number("%.3f", y) } or nil
end

--- losses.svg and scores.svg from the run's history.
---@param folder forger.train.RunFolder
---@param history table<string, number[]> d_loss, g_loss, d_real, d_fake, real_scores, fake_scores
---@param loss table of gan.losses
---@param scale number factor of D's loss (d_reduction)
function report.plots(folder, history, loss, scale)
  local series = { { name = "D's loss", y = history.d_loss }, { name = "G's loss", y = history.g_loss } }
  folder:write("losses.svg", viz.render(viz.lines {
    title = "Losses", x_label = "step", y_label = "loss", series = series,
    level = level(loss.d_equilibrium and loss.d_equilibrium * scale, "D at equilibrium:"),
  }))
  local probability = loss.p_equilibrium ~= nil
  folder:write("scores.svg", viz.render({
    viz.lines {
      title = "What D makes of real and fake", x_label = "step", y_label = probability and "mean probability of \"real\"" or "mean output",
      series = {
        { name = "D(x)", y = history.d_real, color = viz.colors[3] },
        { name = "D(G(z)) before D's update", y = history.d_fake, color = viz.colors[4] },
        { name = "after it", y = history.d_fake_after, color = viz.colors[2] },
      },
      y_range = probability and { 0, 1 } or nil, level = level(loss.p_equilibrium, "equilibrium"),
    },
    viz.histogram {
      title = "D's logits over the last steps", x_label = "logit", y_label = "share",
      sets = {
        { name = "real", values = history.real_scores, color = viz.colors[3] },
        { name = "fake", values = history.fake_scores, color = viz.colors[4] },
      },
    },
  }))
end

--- The machine and settings a run was made with, for log.txt.
---@return string
function report.machine()
  return "forger " .. tostring(fg.VERSION) .. ", " .. tostring(fg.isa()) .. ", " .. fg.get_threads() .. " threads, "
    .. fg.get_precision()
end

--- Resident memory of the process, "123 MB", or nil where it cannot be told.
---@return string?
function report.memory()
  local bytes = core.rss and core.rss()
  return bytes and words.number("%.0f", bytes / 1048576) .. " MB" or nil
end

return report
