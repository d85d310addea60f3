-- The Trainer's semantics on tiny networks: what one step is, which stream each choice draws from, what a run leaves.
local fg = require "forger"
local core = require "forger.core"
local gan, nn, optim, data = fg.gan, fg.nn, fg.optim, fg.data

local function folder()
  local path = os.tmpname()
  os.remove(path)
  return path
end

local function read(path)
  local f = io.open(path, "rb")
  local text = f and f:read("a")
  if f then
    f:close()
  end
  return text
end

-- A module that notes the mode of each call and the rows it saw.
local Spy = nn.Module:extend("TrainerSpy")
nn.register("TrainerSpy", Spy)
function Spy:init(log)
  self.log = log or {}
end
function Spy:config()
  return {}
end
function Spy:forward(x)
  self.log[#self.log + 1] = { training = self.training, rows = x:size(1) }
  return x
end

-- A trainer on points in the plane; `change` adjusts its options.
local function make(change)
  fg.manual_seed(11)
  local t = { log_g = {}, log_d = {} }
  local points = fg.rand(512, 2, { stream = "default" })
  local G = nn.Sequential { Spy(t.log_g), nn.Linear(3, 16), nn.BatchNorm(16), nn.ReLU(), nn.Linear(16, 2) }
  local D = nn.Sequential { Spy(t.log_d), nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1) }
  local o = {
    G = G, D = D, latent = { dim = 3 }, loader = data.Loader(data.TensorDataset(points), { batch = 32 }),
    steps = 6, sample_every = 0, progress = false,
  }
  if change then
    change(o)
  end
  o.g_opt = o.g_opt or optim.Adam(o.G:parameters(), { lr = 1e-2, betas = { 0.5, 0.9 } })
  o.d_opt = o.d_opt or optim.Adam(o.D:parameters(), { lr = 1e-2, betas = { 0.5, 0.9 } })
  t.trainer = gan.Trainer(o)
  t.G, t.D, t.loader = o.G, o.D, o.loader
  return t
end

local function weights(module)
  local out = {}
  for name, p in module:named_parameters() do
    out[#out + 1] = name .. " " .. table.concat(p:reshape(-1):totable(), " ")
  end
  return table.concat(out, "\n")
end

local function after(change)
  local t = make(change)
  t.result = t.trainer:run()
  t.weights = weights(t.G) .. weights(t.D)
  return t
end

describe("a step", function()
  it("changes both networks and gives finite read-outs", function()
    local t = make()
    local before_g, before_d = weights(t.G), weights(t.D)
    local record = t.trainer:step()
    assert.not_equal(before_g, weights(t.G))
    assert.not_equal(before_d, weights(t.D))
    for _, key in ipairs { "d_loss", "g_loss", "penalty", "d_real", "d_fake", "d_fake_after", "acc_real", "acc_fake", "d_grad",
      "g_grad", "diversity", "d_lr", "g_lr" } do
      local v = record[key]
      assert.is_true(type(v) == "number" and v == v and math.abs(v) < math.huge, key)
    end
    assert.equal(1, record.step)
    assert.is_true(record.d_real > 0 and record.d_real < 1)
  end)
  it("repeats bit for bit with the same seed", function()
    assert.equal(after().weights, after().weights)
  end)
  it("does not depend on sample_every", function()
    local every = after(function(o) o.sample_every = 1 o.out = folder() end)
    assert.equal(after().weights, every.weights)
  end)
  it("updates D d_steps times, each time on fresh reals and latents", function()
    local t = make(function(o) o.d_steps = 3 end)
    t.trainer:step()
    assert.equal(3, t.loader.position)
    assert.equal(4, #t.log_g) -- three times fakes for D, once for G
    assert.equal(7, #t.log_d)
    local function drawn(trainer)
      local from = core.stream_get("latent").offset
      trainer:step()
      return core.stream_get("latent").offset - from
    end
    assert.equal(2 * drawn(make().trainer), drawn(t.trainer))
  end)
  it("updates G g_steps times", function()
    local t = make(function(o) o.g_steps = 2 end)
    t.trainer:step()
    assert.equal(3, #t.log_g)
  end)
  it("with reused fakes runs G once and leaves D's update as it is", function()
    local t = make(function(o) o.fakes = "reuse" end)
    local fresh = make()
    t.trainer:step()
    fresh.trainer:step()
    assert.equal(1, #t.log_g)
    assert.equal(2, #fresh.log_g)
    -- G is built from the same seed, so both saw the same first fakes
    t, fresh = make(function(o) o.fakes = "reuse" end), make()
    fg.manual_seed(4)
    local a = t.trainer:step()
    fg.manual_seed(4)
    local b = fresh.trainer:step()
    assert.equal(a.d_loss, b.d_loss)
    assert.equal(weights(t.D), weights(fresh.D))
    assert.not_equal(a.g_loss, b.g_loss)
  end)
  it("gives D reals and fakes apart, or together", function()
    local split, joint = make(), make(function(o) o.d_batch = "joint" end)
    fg.manual_seed(4)
    local a = split.trainer:step()
    fg.manual_seed(4)
    local b = joint.trainer:step()
    assert.equal(32, split.log_d[1].rows)
    assert.equal(64, joint.log_d[1].rows)
    assert.near(a.d_loss, b.d_loss, 1e-5)
    assert.near(a.d_grad, b.d_grad, 1e-4)
  end)
  it("halves D's loss with d_reduction = mean, never penalties", function()
    local function reduced(how)
      local t = make(function(o)
        o.d_reduction = how
        o.regularizers = { gan.regularizers.r1 { gamma = 1 } }
      end)
      fg.manual_seed(4)
      return t.trainer:step()
    end
    local sum, mean = reduced("sum"), reduced("mean")
    assert.near(sum.d_loss / 2, mean.d_loss, 1e-6)
    assert.equal(sum.penalty, mean.penalty)
    assert.is_true(sum.penalty > 0)
  end)
  it("makes D's fakes in train or in eval mode, and trains G in train mode", function()
    local t = make()
    t.trainer:step()
    assert.is_true(t.log_g[1].training and t.log_g[2].training)
    t = make(function(o) o.d_fake_mode = "eval" end)
    t.trainer:step()
    assert.is_false(t.log_g[1].training)
    assert.is_true(t.log_g[2].training)
    assert.is_true(t.G.training)
  end)
  it("does lazy penalties on every k-th update of D", function()
    local seen = {}
    local t = make(function(o)
      o.regularizers = { gan.regularizers.r1 { gamma = 1, every = 3 } }
      o.on_step = function(_, record) seen[#seen + 1] = record.penalty > 0 end
    end)
    t.trainer:run()
    assert.same({ true, false, false, true, false, false }, seen)
  end)
  it("composes penalties, in split and joint minibatches", function()
    for _, how in ipairs { "split", "joint" } do
      local t = make(function(o)
        o.d_batch = how
        o.regularizers = { gan.regularizers.r1(), gan.regularizers.r2(), gan.regularizers.gradient_penalty() }
      end)
      assert.is_true(t.trainer:step().penalty > 0)
    end
  end)
  it("trains with every loss", function()
    for _, name in ipairs(gan.losses.names) do
      local record = make(function(o) o.loss = name end).trainer:step()
      assert.is_true(record.g_grad > 0 and record.d_grad > 0, name)
    end
    local own = make(function(o)
      o.loss = {
        d = function(real, fake) return (fake - real):mean() end,
        g = function(fake, real) assert.equal(32, real:size(1)) return -fake:mean() end,
      }
    end)
    own.trainer:step()
  end)
  it("leaves D trainable and what was frozen frozen", function()
    local t = make()
    local parameters = t.D:parameters()
    parameters[1].requires_grad = false
    t = make(function(o) o.D[2]:parameters()[1].requires_grad = false end)
    local frozen = t.D[2]:parameters()[1]:totable()
    t.trainer:step()
    parameters = t.D:parameters()
    assert.is_false(parameters[1].requires_grad)
    assert.is_true(parameters[2].requires_grad)
    assert.same(frozen, t.D[2]:parameters()[1]:totable())
  end)
  it("follows the schedule", function()
    local rates = {}
    make(function(o)
      o.schedule = fg.train.schedules.linear { from = 0.5, to = 0 }
      o.on_step = function(_, record) rates[#rates + 1] = record.d_lr end
    end).trainer:run()
    assert.near(1e-2, rates[3], 1e-9)
    assert.near(1e-2 * 2 / 3, rates[5], 1e-9)
    assert.is_true(rates[6] < rates[5])
  end)
end)

describe("the Trainer", function()
  it("counts epochs in real images", function()
    assert.equal(32, make(function(o) o.steps = nil o.epochs = 2 end).trainer.steps)
    assert.equal(8, make(function(o) o.steps = nil o.epochs = 2 o.d_steps = 4 end).trainer.steps)
  end)
  it("leaves a final Sigmoid of D out and says so", function()
    local t = make(function(o)
      o.D = nn.Sequential { nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid() }
    end)
    assert.equal(3, #t.trainer.D)
    assert.truthy(t.trainer.notes[1]:find("Sigmoid", 1, true))
    t.trainer:step()
    assert.equal(0, #make().trainer.notes)
  end)
  it("refuses and warns about batch norm in D", function()
    local function with_norm(change)
      return make(function(o)
        o.D = nn.Sequential { nn.Linear(2, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 1) }
        change(o)
      end)
    end
    assert.has_error(function()
      with_norm(function(o) o.regularizers = { gan.regularizers.gradient_penalty() } end)
    end)
    assert.truthy(with_norm(function(o) o.d_batch = "joint" end).trainer.notes[1]:find("BatchNorm", 1, true))
    assert.equal(0, #with_norm(function() end).trainer.notes)
  end)
  it("refuses wrong options in one line", function()
    local cases = {
      function(o) o.G = nil o.g_opt = 1 end, function(o) o.stepz = 1 end, function(o) o.steps = nil end,
      function(o) o.epochs = 1 end, function(o) o.fakes = "old" end, function(o) o.d_steps = 0 end,
      function(o) o.loss = "hinge" o.real_label = 0.9 end, function(o) o.regularizers = { {} } end,
      function(o) o.fakes = "reuse" o.d_fake_mode = "eval" end, function(o) o.ema = 1 end,
    }
    for i, case in ipairs(cases) do
      local ok, message = pcall(make, case)
      assert.is_false(ok, "case " .. i)
      assert.is_nil(tostring(message):find("\n", 1, true), message)
    end
  end)
  it("stops at a number that is not finite, naming step, network and parameter, with weights unchanged", function()
    local out = folder()
    local t = make(function(o)
      o.out, o.steps, o.sample_every = out, 20, 2
      o.on_step = function(trainer, record)
        if record.step == 5 then
          fg.no_grad(function() trainer.D[4]:parameters()[1]:fill_(0 / 0) end)
        end
      end
    end)
    local ok, message = pcall(t.trainer.run, t.trainer)
    assert.is_false(ok)
    assert.truthy(message:find("step 6: D's loss is nan", 1, true), message)
    assert.truthy(message:find("D's parameter 4.weight", 1, true), message)
    local saved = assert(nn.load(out .. "/discriminator.safetensors"))
    assert.is_nil(gan.readouts.find_nonfinite(saved))
    assert.equal(5, select(2, read(out .. "/stats.jsonl"):gsub("\n", "")))
    assert.truthy(read(out .. "/log.txt"):find("4.weight", 1, true))
  end)
  it("names G when its gradient is not finite", function()
    local t = make(function(o)
      o.loss = { d = gan.losses.non_saturating().d, g = function(fake) return (fake - fake:detach()):sqrt():mean() end }
    end)
    local ok, message = pcall(t.trainer.step, t.trainer)
    assert.is_false(ok)
    assert.truthy(message:find("step 1: G's gradient is not finite", 1, true), message)
    for _, p in ipairs(t.D:parameters()) do
      assert.is_true(p.requires_grad)
    end
  end)
  it("writes the run's files", function()
    local out = folder()
    local seen = {}
    make(function(o)
      fg.manual_seed(11)
      o.G = nn.Sequential { nn.Linear(3, 16), nn.BatchNorm(16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Reshape(4, 4, 1) }
      o.D = nn.Sequential { nn.Flatten(), nn.Linear(16, 1) }
      o.loader = data.Loader(data.TensorDataset(fg.rand(64, 4, 4, 1)), { batch = 8 })
      o.out, o.sample_every, o.samples = out, 3, 4
      o.on_sample = function(_, step) seen[#seen + 1] = step end
    end).trainer:run()
    assert.same({ 0, 3, 6 }, seen)
    for _, name in ipairs { "reals.png", "fakes000000.png", "fakes000003.png", "fakes000006.png", "stats.jsonl", "options.json",
      "log.txt", "losses.svg", "scores.svg", "generator.safetensors", "discriminator.safetensors" } do
      assert.truthy(read(out .. "/" .. name), name)
    end
    assert.same({ 2 * (4 + 2) + 2, 2 * (4 + 2) + 2, 1 }, assert(fg.image.read_png(out .. "/reals.png")).shape)
    local lines = 0
    for line in read(out .. "/stats.jsonl"):gmatch("[^\n]+") do
      lines = lines + 1
      local record = assert(fg.json.decode(line))
      assert.equal(lines, record.step)
      assert.is_number(record.diversity)
    end
    assert.equal(6, lines)
    local options = assert(fg.json.decode(read(out .. "/options.json")))
    assert.equal("sum", options.d_reduction)
    assert.equal("normal", options.latent.dist)
    local G = assert(nn.load(out .. "/generator.safetensors"))
    assert.same({ 5, 4, 4, 1 }, G:sample(5).shape)
  end)
  it("writes equal stats for equal runs, also into a folder used before", function()
    local out = folder()
    local function once(steps)
      make(function(o) o.out, o.steps, o.sample_every = out, steps, 2 end).trainer:run()
      return read(out .. "/stats.jsonl"), read(out .. "/generator.safetensors")
    end
    local stats, model = once(6)
    once(3)
    local stats2, model2 = once(6)
    assert.equal(stats, stats2)
    assert.equal(model, model2)
  end)
  it("stops on Ctrl-C with all files written", function()
    local out = folder()
    local t = make(function(o)
      o.out, o.steps = out, 1000
      o.on_step = function(_, record)
        if record.step == 4 then
          io.popen("kill -INT $PPID"):close()
        end
      end
    end)
    local result = t.trainer:run()
    assert.is_true(result.interrupted)
    assert.is_true(result.steps < 1000)
    assert.truthy(read(out .. "/losses.svg"))
    assert.truthy(read(out .. "/generator.safetensors"))
    local again = t.trainer -- and it may go on
    again.steps = again.step_count + 2
    assert.is_false(again:run().interrupted)
    assert.equal(again.step_count, select(2, read(out .. "/stats.jsonl"):gsub("\n", "")))
  end)
  it("reports a folder it cannot write", function()
    local file = os.tmpname()
    local ok, message = pcall(function() make(function(o) o.out = file .. "/run" end).trainer:run() end)
    os.remove(file)
    assert.is_false(ok)
    assert.truthy(message:find(file, 1, true), message)
  end)
  it("keeps memory flat", function()
    local t = make(function(o) o.steps = 1e6 end)
    for _ = 1, 50 do
      t.trainer:step()
    end
    collectgarbage()
    local before = core.memory().live
    collectgarbage("stop")
    for _ = 1, 50 do
      t.trainer:step()
    end
    local now = core.memory().live
    collectgarbage("restart")
    assert.is_true(now - before < 65536, "50 steps left " .. (now - before) .. " bytes without the collector")
  end)
  it("learns: a Gaussian is moved onto the data", function()
    fg.manual_seed(1)
    local points = fg.randn(2048, 2) * 0.5 + 3
    local G = nn.Linear(2, 2)
    local D = nn.Sequential { nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1) }
    local trainer = gan.Trainer {
      G = G, D = D, latent = { dim = 2 }, loader = data.Loader(data.TensorDataset(points), { batch = 64 }), steps = 1500,
      sample_every = 0, progress = false, regularizers = { gan.regularizers.r1 { gamma = 0.1 } },
      g_opt = optim.Adam(G:parameters(), { lr = 5e-3, betas = { 0.5, 0.9 } }),
      d_opt = optim.Adam(D:parameters(), { lr = 5e-3, betas = { 0.5, 0.9 } }),
    }
    trainer:run()
    local s = trainer:sample(2000)
    local mean = s:mean(1):totable()
    assert.near(3, mean[1], 0.3)
    assert.near(3, mean[2], 0.3)
  end)
end)
