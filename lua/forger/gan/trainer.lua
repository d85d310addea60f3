--- The training loop of a GAN, with every choice that papers and tutorials make differently as an option.
---
--- One step is `d_steps` updates of D, each on a fresh minibatch of reals and fresh latents, then `g_steps` updates of G.
--- Losses act on logits: a final Sigmoid of D is left out, and the Trainer says so. The read-outs of a step:
---
---   d_loss, g_loss    the losses (d_loss with d_reduction applied and without penalties)     penalty  sum of the penalties
---   d_real, d_fake    mean of D's probability (of its raw output for losses without one) on the reals and fakes of the
---                     last update of D, as D saw them before that update
---   d_fake_after      the same on the fakes of the first update of G, after D's update: higher than d_fake means that
---                     D has not learned to keep up (the fakes are other ones unless fakes = "reuse")
---   acc_real, acc_fake   share of reals above, of fakes not above D's threshold (logit 0), before the update
---   d_grad, g_grad    L2 norm of all gradients of the network together, before clipping (there is none)
---   diversity         mean pairwise distance of the fakes over that of the reals, see forger.gan.readouts
---   d_lr, g_lr        learning rates of the step
local core = require "forger.core"
local fg = require "forger"
local words = require "forger.words"
local average = require "forger.gan.average"
local health = require "forger.gan.health"
local latent = require "forger.gan.latent"
local losses = require "forger.gan.losses"
local readouts = require "forger.gan.readouts"
local report = require "forger.gan.report"
local train = require "forger.train"

---@class forger.gan.Trainer
local Trainer = {}
Trainer.__index = Trainer

local OPTIONS = {
  "G", "D", "loader", "latent", "g_opt", "d_opt", "loss", "real_label", "label_flip", "regularizers", "steps", "epochs",
  "d_steps", "g_steps", "fakes", "d_batch", "d_fake_mode", "d_reduction", "ema", "schedule", "out", "sample_every",
  "samples", "range", "options", "progress", "on_step", "on_sample",
}
local HISTORY = { "d_loss", "g_loss", "d_real", "d_fake", "d_fake_after" }
local SCORES = 2048 -- D's newest outputs kept for the histogram

-- D without a final Sigmoid, sharing everything else; and whether there was one.
local function strip_sigmoid(D)
  local n = D.class == "Sequential" and #D or 0
  if n == 0 then
    return D, false
  end
  local last = D[n]
  local replacement, stripped = nil, type(last) == "table" and last.class == "Sigmoid"
  if not stripped and type(last) == "table" and last.class == "Sequential" then
    replacement, stripped = strip_sigmoid(last)
  end
  if not stripped then
    return D, false
  end
  local list = {}
  for i = 1, n - 1 do
    list[i] = D[i]
  end
  list[#list + 1] = replacement
  return fg.nn.Sequential(list), true
end

local function whole(name, value, default, least)
  local n = math.tointeger(value == nil and default or value)
  if not n or n < least then
    error("gan.Trainer: " .. name .. " must be a whole number of at least " .. least .. ", got " .. tostring(value), 3)
  end
  return n
end

--- Makes a trainer. options:
---
---   G, D            the networks: G maps [N,dim] to data, D maps data to logits [N,1]
---   loader          reals, f32, from `loader:next()`
---   latent          { dim = 100, dist = "normal" | "uniform" }
---   g_opt, d_opt    optimizers over G:parameters() and D:parameters()
---   loss            a name of gan.losses.names or { d =, g = } ("non_saturating")
---   real_label      D's target for reals (1); label_flip: share of D's labels swapped, per sample (0)
---   regularizers    list of gan.regularizers
---   steps | epochs  how long; epochs counts real images consumed
---   d_steps, g_steps  updates per step (1, 1)
---   fakes           "fresh": new fakes for G's update (default); "reuse": D saw the same ones, detached
---   d_batch         "split": D sees reals and fakes one after the other (default); "joint": in one minibatch, reals first
---   d_fake_mode     mode of G while it makes D's fakes: "train" (default) or "eval"
---   d_reduction     "sum" of the two halves of D's loss (default) or their "mean"; never touches penalties
---   ema             decay of the average of G (0.999), or false
---   schedule        f(step, steps) -> factor of both learning rates, see forger.train.schedules
---   out             folder for the run's files; nil writes none
---   sample_every    steps between pictures and saved models (500); 0: only at the start and the end
---   samples         pictures in a grid (64); range: values shown as black and white (the data set's, or {-1, 1})
---   options         anything JSON can hold, added to options.json under "script"
---   progress        false silences stderr
---   on_step         f(trainer, record) after each step; on_sample: f(trainer, step) when pictures are made
---@param options table
---@return forger.gan.Trainer
local function new(options)
  options = words.check_options("gan.Trainer", options, OPTIONS)
  for _, key in ipairs { "G", "D", "loader", "latent", "g_opt", "d_opt" } do
    if options[key] == nil then
      error("gan.Trainer: option '" .. key .. "' is missing", 2)
    end
  end
  local self = setmetatable({ notes = {}, step_count = 0, d_updates = 0 }, Trainer)
  self.G, self.loader, self.g_opt, self.d_opt = options.G, options.loader, options.g_opt, options.d_opt
  self.D, self.stripped = strip_sigmoid(options.D)
  self.loss = losses.make(options.loss or "non_saturating", { real_label = options.real_label, label_flip = options.label_flip })
  self.real_label = options.real_label or 1
  self.regularizers = options.regularizers or {}
  self.d_steps = whole("d_steps", options.d_steps, 1, 1)
  self.g_steps = whole("g_steps", options.g_steps, 1, 1)
  self.fakes = words.check_choice("gan.Trainer", "fakes", options.fakes or "fresh", { "fresh", "reuse" })
  self.d_batch = words.check_choice("gan.Trainer", "d_batch", options.d_batch or "split", { "split", "joint" })
  self.d_fake_mode = words.check_choice("gan.Trainer", "d_fake_mode", options.d_fake_mode or "train", { "train", "eval" })
  self.d_reduction = words.check_choice("gan.Trainer", "d_reduction", options.d_reduction or "sum", { "sum", "mean" })
  self.d_scale = self.d_reduction == "mean" and 0.5 or 1
  self.schedule, self.on_step, self.on_sample = options.schedule, options.on_step, options.on_sample
  self.sample_every = whole("sample_every", options.sample_every, 500, 0)
  self.samples = whole("samples", options.samples, 64, 1)
  self.range = options.range or (self.loader.dataset and self.loader.dataset.range) or { -1, 1 }
  self.latent = latent.new(options.latent)
  self.latent.range = self.latent.range or self.range
  self.G.latent = self.latent:config()
  self.out, self.script_options = options.out, options.options
  self.progress = options.progress ~= false
  if (options.steps == nil) == (options.epochs == nil) then
    error("gan.Trainer: give either steps or epochs", 2)
  elseif options.steps then
    self.steps = whole("steps", options.steps, nil, 0)
  else
    self.steps = math.ceil(whole("epochs", options.epochs, nil, 1) * #self.loader / self.d_steps)
  end
  if self.fakes == "reuse" and self.d_fake_mode == "eval" then
    error("gan.Trainer: fakes = \"reuse\" trains G on the fakes D saw, so d_fake_mode must be \"train\"", 2)
  end
  local norms = #average.batch_norms(self.D)
  for i, r in ipairs(self.regularizers) do
    if type(r) ~= "table" or type(r.penalty) ~= "function" then
      error("gan.Trainer: regularizers[" .. i .. "] has no function 'penalty'", 2)
    elseif r.per_sample and norms > 0 then
      error("gan.Trainer: " .. r.name .. " is about single samples, but D has BatchNorm, which mixes them", 2)
    end
  end
  if norms > 0 and self.d_batch == "joint" then
    self:note("D has BatchNorm and sees reals and fakes in one minibatch: their statistics mix, which tells D little; "
      .. "d_batch = \"split\" keeps them apart")
  end
  if self.loss.name == "wasserstein" and #self.regularizers == 0 then
    self:note("the wasserstein loss needs a D of bounded slope, and nothing bounds it here: add a gradient_penalty")
  end
  if self.stripped then
    self:note("D ends in Sigmoid: the losses take logits, so it is left out")
  end
  if options.ema ~= false then
    self.ema = average.new(self.G, { decay = options.ema or 0.999 })
  end
  self.g_parameters, self.d_parameters = self.G:parameters(), self.D:parameters()
  self.d_trainable = {}
  for _, p in ipairs(self.d_parameters) do
    if p.requires_grad then
      self.d_trainable[#self.d_trainable + 1] = p
    end
  end
  self.health = health.new(self.loss)
  self.history = { real_scores = {}, fake_scores = {} }
  for _, key in ipairs(HISTORY) do
    self.history[key] = {}
  end
  return self
end

--- Keeps a remark that `run` writes to log.txt and stderr before the first step.
---@param text string
function Trainer:note(text)
  self.notes[#self.notes + 1] = text
end

-- Freezing is requires_grad = false on what was trainable, and nothing else.
local function set_trainable(parameters, on)
  for _, p in ipairs(parameters) do
    p.requires_grad = on
  end
end

local function stop_nonfinite(self, who, network, value)
  local where = "step " .. self.step_count .. ": " .. who .. "'s loss is " .. words.number("%.6g", value)
  if value == value and math.abs(value) < math.huge then
    where = "step " .. self.step_count .. ": " .. who .. "'s gradient is not finite"
  end
  local name, what = readouts.find_nonfinite(network)
  if name then
    where = where .. ", first in the " .. what .. " of " .. who .. "'s parameter " .. name
  end
  error(where .. (self.out and "; the files in " .. self.out .. " are those of the last pictures" or ""), 0)
end

-- Backward, checks, and the optimizer's step. Nothing has changed in the network when it raises. `only`: the images
-- want gradients too, for a penalty, so that plain backward would compute what nobody needs.
local function update(self, who, network, parameters, optimizer, objective, shown, only)
  optimizer:zero_grad()
  if only then
    for i, gradient in ipairs(fg.grad(objective, parameters)) do
      parameters[i].grad = gradient or nil
    end
  else
    objective:backward()
  end
  local norm = readouts.grad_norm(parameters)
  if not (norm < math.huge and shown == shown and math.abs(shown) < math.huge) then
    stop_nonfinite(self, who, network, shown)
  end
  optimizer:step()
  optimizer:zero_grad() -- the other network's pass gets the memory
  return norm
end

local function keep_scores(list, logits)
  local values = logits:reshape(-1):totable()
  for i = 1, #values do
    list.next = (list.next or 0) % SCORES + 1
    list[list.next] = values[i]
  end
end

-- One update of D. Returns the fakes with their graph when G is to reuse them.
local function update_d(self, record, last)
  local G, D, loss = self.G, self.D, self.loss
  local real = self.loader:next()
  local n = real:size(1)
  local z = self.latent:draw(n)
  local graph, fake
  if last and self.fakes == "reuse" then
    graph = G(z)
    fake = graph:detach()
  else
    local eval = self.d_fake_mode == "eval"
    if eval then
      G:eval()
    end
    fake = fg.no_grad(G, z)
    if eval then
      G:train()
    end
  end

  local due = {}
  for _, r in ipairs(self.regularizers) do
    if self.d_updates % (r.every or 1) == 0 then
      due[#due + 1] = r
      if r.watch == "real" and not real.requires_grad then
        real = real:detach()
        real.requires_grad = true
      elseif r.watch == "fake" and not fake.requires_grad then
        fake.requires_grad = true
      end
    end
  end

  local real_logits, fake_logits
  if self.d_batch == "joint" then
    local logits = D(fg.cat({ real, fake }, 1))
    real_logits, fake_logits = logits:slice(1, 1, n), logits:slice(1, n + 1, 2 * n)
  else
    real_logits, fake_logits = D(real), D(fake)
  end
  local d_loss = loss.d(real_logits, fake_logits)
  if self.d_scale ~= 1 then
    d_loss = d_loss * self.d_scale
  end
  local objective, penalty = d_loss, 0
  local batch = { D = D, real = real, fake = fake, real_logits = real_logits, fake_logits = fake_logits }
  for _, r in ipairs(due) do
    local p = r:penalty(batch)
    objective = objective + p
    penalty = penalty + p:item()
  end
  record.d_loss, record.penalty = d_loss:item(), penalty
  record.d_grad = update(self, "D", D, self.d_trainable, self.d_opt, objective, record.d_loss + penalty, #due > 0)
  self.d_updates = self.d_updates + 1

  if last then
    local probability = loss.p_equilibrium ~= nil
    local above
    record.d_real, record.acc_real = readouts.scores(real_logits, loss.threshold, probability)
    record.d_fake, above = readouts.scores(fake_logits, loss.threshold, probability)
    record.acc_fake = 1 - above
    keep_scores(self.history.real_scores, real_logits)
    keep_scores(self.history.fake_scores, fake_logits)
  end
  return real, fake, graph
end

-- One update of G against a frozen D.
local function update_g(self, record, real, graph, first)
  local loss = self.loss
  local fake = graph or self.G(self.latent:draw(real:size(1)))
  local real_logits = loss.needs_real and fg.no_grad(self.D, real:detach()) or nil
  local fake_logits = self.D(fake)
  local g_loss = loss.g(fake_logits, real_logits)
  record.g_loss = g_loss:item()
  record.g_grad = update(self, "G", self.G, self.g_parameters, self.g_opt, g_loss, record.g_loss)
  if first then
    record.d_fake_after = readouts.scores(fake_logits, loss.threshold, loss.p_equilibrium ~= nil)
  end
  if self.ema then
    self.ema:update()
  end
end

--- One step: d_steps updates of D, g_steps updates of G. Tensors of the step are freed before it returns.
---@return table record the read-outs, see the top of this file
function Trainer:step()
  if self.step_count == 0 then
    self.G:train()
    self.D:train()
    self.d_base, self.g_base = self.d_opt.lr, self.g_opt.lr
  end
  local record = {}
  if self.schedule then
    local factor = self.schedule(self.step_count, self.steps)
    self.d_opt.lr, self.g_opt.lr = self.d_base * factor, self.g_base * factor
  end
  record.d_lr, record.g_lr = self.d_opt.lr, self.g_opt.lr
  self.step_count = self.step_count + 1
  record.step = self.step_count
  for _ = 1, self.d_steps - 1 do
    fg.scope(function()
      update_d(self, record, false)
    end)
  end
  fg.scope(function()
    local real, fake, graph = update_d(self, record, true)
    record.diversity = readouts.diversity(real, fake)
    set_trainable(self.d_trainable, false)
    local ok, message = pcall(update_g, self, record, real, graph, true)
    for _ = 2, ok and self.g_steps or 0 do
      ok, message = pcall(fg.scope, function()
        update_g(self, record, real, nil, false)
      end)
      if not ok then
        break
      end
    end
    set_trainable(self.d_trainable, true)
    if not ok then
      error(message, 0)
    end
  end)
  return record
end

--- The generator to sample from: the average, with its batch-norm statistics measured anew, or G itself.
---@return forger.nn.Module
function Trainer:generator()
  if self.ema then
    return self.ema:refresh(self.latent, self.loader.batch or 64)
  end
  return self.G
end

--- Samples from `generator()`, in eval mode, from the stream "sample" (which training never touches).
---@param n integer
---@return forger.Tensor
function Trainer:sample(n)
  return latent.sample(self:generator(), n, { latent = self.latent })
end

-- Pictures, plots and models of this moment.
local function write_files(self)
  local generator = self:generator()
  if self.folder then
    fg.scope(function()
      local images = latent.sample(generator, self.samples, { z = self.fixed })
      report.grid(self.folder:file(string.format("fakes%06d.png", self.step_count)), images, self.range)
    end)
    report.models(self.folder, generator, self.D)
    if self.step_count > 0 then
      report.plots(self.folder, self.history, self.loss, self.d_scale)
    end
    self.folder:flush()
  end
  if self.on_sample then
    self.on_sample(self, self.step_count)
  end
  self.written = self.step_count
end

--- Every setting of the run as plain data: what options.json holds.
---@return table
function Trainer:config()
  local penalties = {}
  for i, r in ipairs(self.regularizers) do
    penalties[i] = r.config and r.config() or { name = r.name or "custom" }
  end
  return {
    steps = self.steps, d_steps = self.d_steps, g_steps = self.g_steps, fakes = self.fakes, d_batch = self.d_batch,
    d_fake_mode = self.d_fake_mode, d_reduction = self.d_reduction, loss = self.loss.name, real_label = self.real_label,
    regularizers = penalties, latent = self.latent:config(), ema = self.ema and self.ema.decay or false,
    batch = self.loader.batch, replacement = self.loader.replacement or false, d_lr = self.d_opt.lr, g_lr = self.g_opt.lr,
    sample_every = self.sample_every, samples = self.samples, script = self.script_options,
  }
end

local function start(self)
  if not self.fixed then
    self.fixed = self.latent:draw(self.samples, "sample")
  end
  if not self.out or self.folder then
    return
  end
  self.folder = train.run_folder(self.out)
  self.folder:write("options.json", fg.json.encode(self:config(), true) .. "\n")
  self.folder:log(report.machine())
  self.folder:log("G " .. tostring(self.G))
  self.folder:log("D " .. tostring(self.D))
  local dataset = self.loader.dataset
  if dataset then
    local ids = {}
    for i = 1, math.min(self.samples, #dataset) do
      ids[i] = i
    end
    fg.scope(function()
      report.grid(self.folder:file("reals.png"), (dataset:batch(ids)), self.range)
    end)
  end
end

local function log(self, text)
  if self.folder then
    self.folder:log(text)
  end
end

-- Nine digits tell any two floats apart.
local function rounded(record)
  local copy = {}
  for _, key in ipairs(words.sorted_keys(record)) do
    local v = record[key]
    copy[key] = math.type(v) == "float" and v == v and tonumber(string.format("%.9g", v)) or v
  end
  return copy
end

local function loop(self, bar)
  start(self)
  for _, text in ipairs(self.notes) do
    log(self, text)
    if bar then
      bar:message(text)
    end
  end
  if self.step_count == 0 then
    write_files(self)
  end
  local history, record = self.history, nil
  local function line()
    local f = words.number
    return "D " .. f("%.2f", record.d_loss) .. " G " .. f("%.2f", record.g_loss) .. "  D(x) " .. f("%.2f", record.d_real)
      .. " D(G(z)) " .. f("%.2f", record.d_fake)
  end
  local started, from = core.clock(), self.step_count
  while self.step_count < self.steps do
    record = self:step()
    local step = self.step_count
    for _, key in ipairs(HISTORY) do
      history[key][step] = record[key]
    end
    if self.folder then
      self.folder:stats(fg.json.encode(rounded(record)))
    end
    if self.on_step then
      self.on_step(self, record)
    end
    if bar then
      bar:update(step, line)
    end
    local warning = self.health:check(record)
    if warning then
      log(self, "step " .. step .. ": " .. warning)
      if bar then
        bar:message("step " .. step .. ": " .. warning)
      end
    end
    if core.interrupted() then
      self.interrupted = true
      break
    end
    if self.sample_every > 0 and step % self.sample_every == 0 then
      write_files(self)
      local memory = report.memory()
      log(self, "step " .. step .. "  " .. line() .. "  " .. words.number("%.2f", (step - from) / (core.clock() - started))
        .. " it/s" .. (memory and "  " .. memory or ""))
    end
  end
  if self.written ~= self.step_count then
    write_files(self)
  end
  local seconds = core.clock() - started
  log(self, (self.interrupted and "interrupted" or "done") .. " after step " .. self.step_count .. ", "
    .. words.number("%.1f", seconds) .. " s")
  return { steps = self.step_count, seconds = seconds, interrupted = self.interrupted or false, last = record, out = self.out }
end

--- Trains until `steps`, Ctrl-C, or a loss or gradient that is not finite. Ctrl-C writes the same files as the end does;
--- the result's `interrupted` is then true (cli.main makes exit code 130 of it). A number that is not finite raises one
--- line with step, network and parameter, before any weight has changed; the last good files stay.
---@return {steps: integer, seconds: number, interrupted: boolean, last: table, out: string?}
function Trainer:run()
  local bar = self.progress and train.progress { total = self.steps } or nil
  self.interrupted = nil
  core.install_sigint()
  local ok, result = pcall(loop, self, bar)
  core.remove_sigint()
  if bar then
    bar:finish()
  end
  if not ok then
    if self.folder then
      pcall(self.folder.flush, self.folder)
      pcall(self.folder.log, self.folder, tostring(result))
    end
    error(result, 0)
  end
  return result
end

return { new = new }
