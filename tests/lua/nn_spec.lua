-- Modules: classes, Sequential and its fusion, modes, state, files, text.
local fg = require "forger"
local nn = fg.nn

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), "message: " .. tostring(message))
end

local function near(a, b, tolerance)
  local d = (a - b):abs():max():item()
  assert.is_true(d <= (tolerance or 1e-6), "differ by " .. d)
end

local function names(net)
  local list = {}
  for name in net:named_parameters() do
    list[#list + 1] = name
  end
  return table.concat(list, " ")
end

local Block = nn.Module:extend("TestBlock")
function Block:init(c, scale)
  self.zeta = nn.Conv2d(c, c, 3, { padding = "same" })
  self.alpha = nn.Parameter(fg.full({ 1 }, scale or 1))
  self.list = { nn.Linear(c, c), nn.ReLU() }
end
function Block:forward(x) return x + self.zeta(x):relu() * self.alpha end

describe("layers", function()
  it("take PyTorch's arguments and say what is wrong with others", function()
    assert.same({ 4, 5 }, nn.Linear(4, 5).weight.shape)
    assert.is_falsy(nn.Linear(4, 5, { bias = false }).bias)
    assert.same({ 4, 3, 2, 8 }, nn.Conv2d(2, 8, { 4, 3 }).weight.shape)
    assert.same({ 4, 4, 8, 2 }, nn.ConvTranspose2d(2, 8, 4).weight.shape)
    raises("Conv2d: unknown option 'strides', did you mean 'stride'", nn.Conv2d, 1, 2, 3, { strides = 2 })
    raises("Conv2d: 'kernel_size' is missing", nn.Conv2d, 1, 2)
    raises("'bias' is true or false, got the number 1", nn.Linear, 1, 2, { bias = 1 })
    raises("'padding' is an integer, a pair", nn.Conv2d, 1, 2, 3, { padding = "valid" })
    raises("one argument too many", nn.ReLU, 1)
    assert.equal(0.01, nn.LeakyReLU().slope)
    assert.equal(0.3, nn.Dropout(0.3).p)
    assert.equal(0.5, nn.Dropout().p)
    assert.equal(2, nn.Conv2d(1, 1, 3, { stride = 2 }).stride)
    raises("'stride' is fixed", function() nn.Conv2d(1, 1, 3).stride = 2 end)
    raises("copy_ inside no_grad", function() nn.Linear(1, 1).weight = fg.ones(1, 1) end)
  end)

  it("compute their shapes", function()
    local x = fg.randn(2, 8, 8, 4)
    for _, case in ipairs {
      { nn.Conv2d(4, 6, 3), { 2, 6, 6, 6 } },
      { nn.Conv2d(4, 6, 5, { stride = 2, padding = "same" }), { 2, 4, 4, 6 } },
      { nn.ConvTranspose2d(4, 6, 4, { stride = 2, padding = 1 }), { 2, 16, 16, 6 } },
      { nn.BatchNorm(4), { 2, 8, 8, 4 } },
      { nn.AvgPool2d(2), { 2, 4, 4, 4 } },
      { nn.MaxPool2d(3, { stride = 1, padding = 1 }), { 2, 8, 8, 4 } },
      { nn.Upsample(2), { 2, 16, 16, 4 } },
      { nn.Flatten(), { 2, 256 } },
      { nn.Reshape(16, 16), { 2, 16, 16 } },
      { nn.Identity(), { 2, 8, 8, 4 } },
      { nn.Softplus(), { 2, 8, 8, 4 } },
    } do
      assert.same(case[2], case[1](x).shape)
    end
    assert.same({ 3, 5 }, nn.Embedding(10, 5)(fg.tensor({ 1, 2, 9 }, "i32")).shape)
  end)

  it("have parameters that work as table keys", function()
    local layer = nn.Linear(2, 2)
    local key = { [layer.weight] = "found" }
    collectgarbage()
    assert.equal("found", key[layer.weight])
    assert.is_true(layer.weight == layer:parameters()[1])
  end)

  it("read the mode and batch norm's momentum at the call", function()
    local bn = nn.BatchNorm(2)
    bn.momentum = 1
    bn(fg.tensor { { 1, 2 }, { 3, 6 } })
    near(bn.running_mean, fg.tensor { 2, 4 })
    near(bn.running_var, fg.tensor { 2, 8 })
    bn.training = false
    bn(fg.tensor { { 10, 20 }, { 30, 60 } })
    near(bn.running_mean, fg.tensor { 2, 4 })
    local drop = nn.Dropout(0.5)
    local ones = fg.ones(1000)
    assert.is_true(drop(ones):eq(0):to("f32"):sum():item() > 300)
    near(drop:eval()(ones), ones)
  end)
end)

describe("modules", function()
  it("keep parameters in the order of first assignment", function()
    assert.equal("alpha zeta.weight zeta.bias list.1.weight list.1.bias", names(Block(2)))
    local M = nn.Module:extend("Ordered")
    function M:init()
      for i = 20, 1, -1 do
        self["p" .. i] = nn.Parameter(fg.ones(1))
      end
      self.p20 = nn.Parameter(fg.zeros(1))
    end
    local list = {}
    for i = 20, 1, -1 do
      list[#list + 1] = "p" .. i
    end
    assert.equal(table.concat(list, " "), names(M()))
  end)

  it("count shared modules once and find children", function()
    local shared = nn.Linear(2, 2)
    local net = nn.Sequential { shared, nn.ReLU(), shared }
    assert.equal("1.weight 1.bias", names(net))
    assert.equal(3, #net:modules())
    local list = {}
    for name, child in nn.Sequential({ nn.ReLU(), nn.Tanh() }):children() do
      list[#list + 1] = name .. child.class
    end
    assert.same({ "1ReLU", "2Tanh" }, list)
    assert.equal(6, net:parameter_count())
  end)

  it("keep buffers apart from parameters", function()
    local M = nn.Module:extend("Buffered")
    function M:init()
      self:register_buffer("count", fg.zeros(1))
      self.note = fg.zeros(1) -- neither trained nor saved
    end
    local m = M()
    assert.equal(0, #m:parameters())
    assert.equal(1, #m:buffers())
    assert.is_not_nil(m:state_dict().count)
    assert.is_nil(m:state_dict().note)
  end)

  it("freeze parameters without touching the mode", function()
    local net = nn.Sequential { nn.Linear(2, 2), nn.BatchNorm(2) }
    net:freeze()
    assert.is_true(net.training and net[2].training)
    assert.is_false(net[1].weight.requires_grad)
    assert.equal(4, #net:parameters())
    assert.is_false(net(fg.ones(3, 2)).requires_grad)
    net:unfreeze():eval()
    assert.is_true(net[1].weight.requires_grad)
    assert.is_false(net[2].training)
    assert.is_false(net[2].running_mean.requires_grad) -- a buffer
    local leaf = nn.Linear(2, 2) -- with a parameter and a child of the user's own
    leaf.scale, leaf.inner = fg.ones { 2, requires_grad = true }, nn.Sequential { nn.Linear(2, 1) }
    leaf.inner.up = leaf -- in a circle
    for _, on in ipairs { false, true } do
      leaf[on and "unfreeze" or "freeze"](leaf)
      for _, t in ipairs { leaf.weight, leaf.scale, leaf.inner[1].bias } do
        assert.equal(on, t.requires_grad)
      end
    end
    local Stubborn = nn.Linear:extend "Stubborn" -- a built-in layer's class, extended
    function Stubborn:freeze_own() return true end
    local inner, named, odd = nn.Linear(2, 2), nn.Linear(2, 2), Stubborn(2, 2)
    named.gain = fg.ones { 2, requires_grad = true }
    local seq = nn.Sequential { nn.Linear(2, 2), function(x) return x end, nn.ReLU(), nn.Sequential { inner }, named, odd }
    local outer = nn.Sequential { seq }
    outer.scale = fg.ones { 2, requires_grad = true }
    for _, on in ipairs { false, true } do
      assert.equal(outer, outer[on and "unfreeze" or "freeze"](outer))
      for i, t in ipairs { seq[1].weight, seq[1].bias, inner.weight, named.weight, named.gain, outer.scale } do
        assert.equal(on, t.requires_grad, i)
      end
      assert.is_true(odd.weight.requires_grad)
    end
    nn.Sequential { inner, named }:freeze()
    assert.is_false(named.gain.requires_grad)
    named.gain.requires_grad = true
    seq[1] = inner -- an element in place of another
    assert.is_false(seq:freeze()[1].weight.requires_grad)
    local b = Block(2)
    b:freeze()
    assert.equal("alpha zeta.weight zeta.bias list.1.weight list.1.bias", names(b))
    assert.equal(5, #b:unfreeze():parameters())
  end)

  it("say which class has no forward", function()
    raises("Empty: this class has no forward", nn.Module:extend("Empty")(), 1)
  end)

  it("inherit", function()
    local Child = Block:extend("Child")
    function Child:forward(x) return Block.forward(self, x) * 2 end
    fg.manual_seed(1)
    local b = Block(2)
    fg.manual_seed(1)
    local c = Child(2)
    local x = fg.ones(1, 3, 3, 2)
    near(c(x), b(x) * 2)
    local MyLinear = nn.Linear:extend("MyLinear")
    function MyLinear:forward(v) return nn.Linear.forward(self, v) + 1 end
    local l = MyLinear(2, 2)
    near(l(fg.zeros(1, 2)), l.bias:reshape(1, 2) + 1)
    near(nn.Sequential { l, nn.ReLU() }(fg.zeros(1, 2)), (l.bias:reshape(1, 2) + 1):relu())
  end)
end)

describe("Sequential", function()
  it("gives the bits of its layers one by one, fused or not", function()
    fg.manual_seed(3)
    for _, act in ipairs { nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh(), nn.Sigmoid() } do
      for _, first in ipairs { nn.Linear(4, 4), nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm(4) } do
        local x = first.class == "Linear" and fg.randn(5, 4) or fg.randn(2, 6, 6, 4)
        first:eval()
        local fused, single = nn.Sequential { first, act }(x), act(first(x))
        near(fused, single, 1e-6)
        assert.equal(first.class == "BatchNorm" and "batch_norm" or fused:op_name(), fused:op_name())
        assert.is_false(fused:op_name() == single:op_name(), "not fused: " .. fused:op_name())
      end
    end
  end)

  it("does not fuse around hooks of the user", function()
    local calls = 0
    local act = nn.ReLU()
    function act.forward(self, x)
      calls = calls + 1
      return nn.ReLU.forward(self, x)
    end
    nn.Sequential { nn.Linear(2, 2), act }(fg.ones(1, 2))
    assert.equal(1, calls)
  end)

  it("takes functions, a list or arguments, and grows at the end", function()
    local net = nn.Sequential(nn.Identity(), function(x) return x * 3 end)
    net:append(function(x) return x + 1 end)
    assert.equal(3, #net)
    assert.equal(7.0, net(fg.full({ 1 }, 2)):item())
    raises("element 2 is a number; modules and functions", nn.Sequential, { nn.ReLU(), 3 })
    raises("element 9 cannot be set: there are 3", function() net[9] = nn.ReLU() end)
    raises("cannot be saved", net.save, net, "unused")
  end)

  it("names the layer and its place when shapes do not fit", function()
    local net = nn.Sequential { nn.Identity(), nn.Sequential { nn.Linear(3, 2), nn.ReLU() } }
    raises("Sequential%[2%]%[1%] Linear%(3, 2%): linear: input %[1,4%] has 4 features, weight %[3,2%] expects 3", net, fg.ones(1, 4))
    local G = nn.Module:extend("Generator")
    function G:init() self.body = nn.Sequential { nn.Conv2d(1, 2, 3) } end
    function G:forward(x) return self.body(x) end
    raises("nn_spec.lua:%d+: Generator.body%[1%] Conv2d%(1, 2, 3%): conv2d: input", G(), fg.ones(1, 5, 5, 2))
    raises("a tensor expected, got nil", net, nil)
  end)
end)

describe("state", function()
  it("goes from one network to another", function()
    local a, b = nn.Sequential { nn.Linear(2, 3), nn.BatchNorm(3) }, nn.Sequential { nn.Linear(2, 3), nn.BatchNorm(3) }
    a[2].running_mean:fill_(7)
    b:load_state_dict(a:state_dict())
    near(a[1].weight, b[1].weight, 0)
    near(b[2].running_mean, fg.full({ 3 }, 7), 0)
    assert.is_false(a[1].weight == b[1].weight)
  end)

  it("lists everything that does not fit and changes nothing then", function()
    local net = nn.Linear(2, 3)
    local before = net.weight:clone()
    raises("'weight' has shape %[2,2%], the module's is %[2,3%]; missing 'bias' %[3%]; unexpected 'other'",
      net.load_state_dict, net, { weight = fg.ones(2, 2), other = fg.ones(1) })
    raises("has shape", net.load_state_dict, net, { bias = fg.zeros(3), weight = fg.ones(2, 2) }, { strict = false })
    near(before, net.weight, 0)
    net:load_state_dict({ bias = fg.ones(3), other = fg.ones(1) }, { strict = false })
    near(net.bias, fg.ones(3), 0)
  end)

  it("is copied by clone, which draws no random numbers", function()
    local net = nn.Sequential { nn.Linear(2, 2), Block(2), nn.BatchNorm(2) }
    net[1]:freeze()
    net.latent = { dim = 2 }
    fg.manual_seed(9)
    local twin = net:clone()
    local draw = fg.rand(1, { stream = "init" })
    fg.manual_seed(9)
    assert.is_true(fg.equal(draw, fg.rand(1, { stream = "init" })))
    assert.equal(names(net), names(twin))
    near(net[1].weight, twin[1].weight, 0)
    assert.is_false(twin[1].weight.requires_grad)
    assert.is_true(twin[2].alpha.requires_grad)
    fg.no_grad(function() twin[2].alpha:fill_(5) end)
    assert.equal(1.0, net[2].alpha:item())
    assert.equal(tostring(net), tostring(twin))
  end)
end)

describe("files", function()
  local path = os.tmpname()
  teardown(function() os.remove(path) end)

  it("hold weights and architecture", function()
    local net = nn.Sequential {
      nn.Linear(4, 36, { bias = false }), nn.Reshape(3, 3, 4), nn.BatchNorm(4, { momentum = 0.01 }), nn.LeakyReLU(0.2),
      nn.ConvTranspose2d(4, 2, { 4, 3 }, { stride = 2, padding = { 1, 0, 2, 1 }, output_padding = { 0, 1 } }),
      nn.Sequential { nn.Conv2d(2, 1, 3, { padding = "same" }), nn.Tanh() }, nn.Dropout(0.1),
    }
    net[3].running_var:fill_(2)
    net.latent = { dim = 4, dist = "uniform" }
    assert.is_true(net:save(path, { epoch = "3" }))
    local state = fg.rand(1, { stream = "init" })
    local twin, meta = nn.load(path)
    assert.is_not_nil(state)
    assert.equal("3", meta.epoch)
    assert.same({ dim = 4, dist = "uniform" }, twin.latent)
    assert.equal(tostring(net), tostring(twin))
    local x = fg.randn(2, 4)
    near(net:eval()(x), twin:eval()(x), 0)
  end)

  it("rebuild classes that are registered and name those that are not", function()
    local net = nn.Sequential { Block(2, 0.5) }
    net:save(path)
    local loaded, message = nn.load(path)
    assert.is_nil(loaded)
    assert.equal("class TestBlock is unknown: require its file first", message)
    nn.register("TestBlock", Block)
    loaded = assert(nn.load(path))
    near(net[1].alpha, loaded[1].alpha, 0)
    assert.equal(0.5, loaded[1].alpha:item())
    local plain = nn.Sequential { Block(2, 7) }
    assert.is_not_nil(plain:load_weights(path))
    assert.equal(0.5, plain[1].alpha:item())
  end)

  it("are refused with a message when they are no model files", function()
    fg.save(path, { x = fg.ones(1) })
    local net, message = nn.load(path)
    assert.is_nil(net)
    assert.is_truthy(message:find("weights without architecture"))
    net, message = nn.load(path .. ".absent")
    assert.is_nil(net)
    assert.is_truthy(message:find("absent"))
    for _, text in ipairs { "[]", "{", '{"class":"Sequential"}', '{"class":"Linear"}', '{"class":"Linear","config":{"in_features":2}}',
      '{"class":"Linear","config":{"in_features":1e9,"out_features":1e9}}' } do
      fg.save(path, {}, { format = "forger-model-1", architecture = text })
      net, message = nn.load(path)
      assert.is_nil(net)
      assert.equal("string", type(message))
    end
  end)
end)

describe("text", function()
  it("draws the network and tabulates it", function()
    local net = nn.Sequential { nn.Conv2d(1, 2, 3, { stride = 2, padding = 1 }), nn.BatchNorm(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1) }
    assert.is_truthy(tostring(net):find("(1): Conv2d(1, 2, 3, { stride = 2, padding = 1 })", 1, true))
    local text = nn.summary(net, { 1, 4, 4, 1 })
    assert.is_truthy(text:find("Linear(8, 1)", 1, true))
    assert.is_truthy(text:find("[1, 2, 2, 2]", 1, true))
    assert.is_truthy(text:find("total parameters: 33", 1, true))
    assert.is_true(net.training and net[2].training)
    near(net[2].running_mean, fg.zeros(2), 0)
    raises("Sequential%[1%] Conv2d", nn.summary, net, { 1, 4, 4, 3 })
    assert.is_true(net[2].training)
  end)

  it("initialises", function()
    local net = nn.Sequential { nn.Linear(100, 100), nn.BatchNorm(100) }
    nn.init.dcgan(net)
    assert.is_true(math.abs(net[1].weight:std():item() - 0.02) < 2e-3)
    nn.init.keras(net)
    assert.is_true(math.abs(net[1].weight:abs():max():item() - math.sqrt(6 / 200)) < 1e-3)
    assert.equal(0.0, net[1].bias:abs():sum():item())
    nn.init.normal(net, 1)
    assert.is_true(math.abs(net[1].weight:std():item() - 1) < 0.05)
    nn.init.constant(net, 3)
    assert.equal(3.0, net[2].bias:mean():item())
    nn.init.uniform(net[1].weight, -1, 0)
    assert.is_true(net[1].weight:max():item() <= 0)
    nn.init.torch(net)
    assert.is_true(net[1].weight:abs():max():item() <= 0.1)
  end)
end)
