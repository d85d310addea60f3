-- Twenty training steps against stored runs of Keras (the book's DCGAN, channels / 8) and PyTorch (a narrow dcgan_64), from
-- the same weights, batches and latents: losses within 1e-3, each weight tensor within 1e-2 of its own largest change.
-- tests/vectors/README.md says how the traces were made; cases.json holds networks, optimizers and the kind of step.
local fg = require "forger"
local nn, optim = fg.nn, fg.optim

local here = debug.getinfo(1, "S").source:match "^@(.*)[/\\][^/\\]*$" or "."
local vectors = here .. "/../vectors/"

local function read_text(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local doc = assert(fg.json.decode(read_text(vectors .. "cases.json")))

local function network(list)
  local layers = {}
  for i, spec in ipairs(list) do
    local args = {}
    for k, v in ipairs(spec.args) do args[k] = v end
    if next(spec.opts) then args[#args + 1] = spec.opts end
    layers[i] = nn[spec.class](table.unpack(args))
  end
  return nn.Sequential(layers)
end

--- Loads every state-dict entry from "init.G." or "init.D."; names on both sides must be the same.
local function load_init(module, t, prefix)
  local state = {}
  for name in pairs(module:state_dict()) do
    state[name] = assert(t["init." .. prefix .. name], "the trace has no " .. prefix .. name)
  end
  for name in pairs(t) do
    local key = name:match("^init%." .. prefix:gsub("%.", "%%.") .. "(.+)$")
    assert(not key or state[key], "the network has no " .. prefix .. tostring(key))
  end
  module:load_state_dict(state)
end

local function optimizer(spec, module)
  return optim[spec.class](module:parameters(), spec.opts)
end

--- The trace holds the biases directly before a batch norm at zero: their gradient is rounding noise, which RMSprop would
--- turn into steps that reach D's fakes through the lagging running means.
local function hold(names, G)
  local held = 0
  for key, p in G:named_parameters() do
    for _, name in ipairs(names) do
      if name == "G." .. key then
        p.requires_grad = false
        held = held + 1
      end
    end
  end
  assert(held == #names)
end

local function run(c, t)
  local G, D = network(c.generator), network(c.discriminator)
  load_init(G, t, "G.")
  load_init(D, t, "D.")
  hold(c.held, G)
  G:train()
  D:train()
  local g_opt, d_opt = optimizer(c.g_optimizer, G), optimizer(c.d_optimizer, D)
  local reuse = c.fakes == "reuse"
  local d_losses, g_losses = {}, {}
  for i = 1, c.steps do
    local real = t.real[c.real_batch[i]]:to "f32" * c.real_scale + c.real_shift
    -- D's step
    local fake
    if reuse then
      fake = G(t.latent[i])
    else
      if c.d_fake_mode == "eval" then G:eval() end
      fake = fg.no_grad(G, t.latent_d[i])
      G:train()
    end
    local r, f
    if c.d_batch == "joint" then
      local s = D(fg.cat({ real, fake:detach() }, 1))
      r, f = s:slice(1, 1, c.batch), s:slice(1, c.batch + 1, 2 * c.batch)
    else
      r, f = D(real), D(fake:detach())
    end
    local d = (-r):softplus():mean() + f:softplus():mean()
    if c.d_reduction == "mean" then d = d * 0.5 end
    d_losses[i] = d:item()
    d_opt:zero_grad()
    d:backward()
    d_opt:step()
    -- G's step, through the updated and frozen D
    D:freeze()
    if not reuse then fake = G(t.latent_g[i]) end
    local g = (-D(fake)):softplus():mean()
    g_losses[i] = g:item()
    g_opt:zero_grad()
    g:backward()
    g_opt:step()
    D:unfreeze()
  end
  return G, D, d_losses, g_losses
end

local function check(name)
  local c = assert(doc[name])
  local t = assert(fg.load(vectors .. c.file))
  local G, D, d_losses, g_losses = run(c, t)
  for i = 1, c.steps do
    for which, mine in pairs { d_loss = d_losses[i], g_loss = g_losses[i] } do
      local want = t[which]:get(i)
      local e = math.abs(mine - want) / math.abs(want)
      assert.is_true(e < 1e-3, ("%s of step %d: %.8g, stored %.8g"):format(which, i, mine, want))
    end
  end
  local excepted = {}
  for _, key in ipairs(c.excepted) do excepted[key] = true end
  local checked = 0
  for prefix, m in pairs { ["G."] = G, ["D."] = D } do
    for key, value in pairs(m:state_dict()) do
      local full = prefix .. key
      if not excepted[full] then
        local first, last = t["init." .. full], t["final." .. full]
        local change = (last - first):abs():max():item()
        local e = (value:detach() - last):abs():max():item() / change
        assert.is_true(change > 0 and e < 1e-2, ("%s: off by %.3g of its largest change %.3g"):format(full, e, change))
        checked = checked + 1
      end
    end
  end
  assert.is_true(checked > 15)
end

describe("Twenty training steps", function()
  setup(function()
    -- direct sums: fast convolutions have a bound of their own
    fg.set_precision "f32"
    fg.set_fast_conv(false)
  end)
  teardown(function() fg.set_fast_conv(true) end)
  it("of the Keras book's DCGAN are Keras's", function() check "trace_book" end)
  it("of a DCGAN on 64x64 images are PyTorch's", function() check "trace_dcgan64" end)
end)
