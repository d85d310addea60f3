-- Gradients from Lua: backward, grad, second order, modes, errors.
local fg = require "forger"

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), "message: " .. tostring(message))
end

local function leaf(values) return fg.tensor(values, { requires_grad = true }) end

describe("backward", function()
  it("adds into .grad of leaves, which is interned", function()
    local w = leaf { 1, 2 }
    assert.is_nil(w.grad)
    ;(w * w):sum():backward()
    assert.same({ 2.0, 4.0 }, w.grad:totable())
    ;(w * 3):sum():backward()
    assert.same({ 5.0, 7.0 }, w.grad:totable())
    assert.is_true(w.grad == w.grad)
    local seen = { [w.grad] = true }
    assert.is_true(seen[w.grad])
    assert.is_false(w.grad.requires_grad)
    w.grad = nil
    assert.is_nil(w.grad)
  end)

  it("takes a grad_output and keeps the graph when asked", function()
    local w = leaf { 1, 2 }
    local y = w * w
    raises("only a tensor of one element has an implied gradient, this one is %[2%]", y.backward, y)
    y:backward(fg.tensor { 1, 10 }, { retain_graph = true })
    y:backward { grad_output = fg.tensor { 1, 0 } }
    assert.same({ 4.0, 40.0 }, w.grad:totable())
    raises("unknown option 'retaingraph', did you mean 'retain_graph'", y.backward, y, { retaingraph = true })
  end)

  it("says so when the graph is gone", function()
    local w = leaf { 1 }
    local y = (w * w):sum()
    y:backward()
    raises("freed", y.backward, y)
  end)

  it("notices a saved value that changed", function()
    local w, x = leaf { 1 }, fg.tensor { 2 }
    local y = (w * x):sum()
    x:fill_(3)
    raises("mul", y.backward, y)
  end)
end)

describe("grad", function()
  it("gives one tensor or a list, with false where nothing depends", function()
    local a, b, c = leaf { 2 }, leaf { 3 }, leaf { 4 }
    assert.equal(3.0, fg.grad((a * b):sum(), a):item())
    local list = fg.grad((a * b):sum(), { a, c, b })
    assert.equal(3.0, list[1]:item())
    assert.is_false(list[2])
    assert.equal(2.0, list[3]:item())
    assert.is_nil(fg.grad((a * b):sum(), c))
    assert.is_nil(a.grad)
    assert.equal(30.0, fg.grad(a * b, a, { grad_output = fg.tensor { 10 } }):item())
    assert.equal(6.0, fg.grad((a * b):sum(), { a, a })[1]:item() + fg.grad((a * b):sum(), { a, a })[2]:item())
    raises("element 2 of the list is the number 1, not a tensor", fg.grad, (a * b):sum(), { a, 1 })
  end)

  it("is differentiable again with create_graph", function()
    local x = leaf { 3 }
    local g = fg.grad((x ^ 3):sum(), x, { create_graph = true })
    assert.is_true(g.requires_grad)
    assert.equal(27.0, g:item())
    assert.equal(18.0, fg.grad(g:sum(), x):item())
  end)

  it("gives R1 through a small network the value of its formula", function()
    local w, x = leaf { { 2 }, { -1 } }, leaf { { 1, 1 }, { 0, 2 } }
    local g = fg.grad(x:matmul(w):square():sum(), x, { create_graph = true }) -- 2 (x w) w
    local penalty = g:square():sum()
    penalty:backward()
    -- sum over rows of 4 s^2 |w|^2, s = x w: d/dw = 8 s x |w|^2 + 8 s^2 w
    local want, ws = { 0, 0 }, { 2, -1 }
    for _, row in ipairs { { 1, 1 }, { 0, 2 } } do
      local s = row[1] * 2 - row[2]
      for j = 1, 2 do
        want[j] = want[j] + 8 * s * row[j] * 5 + 8 * s * s * ws[j]
      end
    end
    assert.same({ { want[1] * 1.0 }, { want[2] * 1.0 } }, w.grad:totable())
  end)
end)

describe("grad modes", function()
  it("no_grad returns results and restores, after errors too", function()
    local w = leaf { 1 }
    local y, n = fg.no_grad(function(k) return w * k, 7 end, 2)
    assert.is_false(y.requires_grad)
    assert.equal(7, n)
    raises("deliberate", fg.no_grad, function() error "deliberate" end)
    assert.is_true(fg.grad_enabled())
    fg.no_grad(function()
      assert.is_true(fg.enable_grad(function() return w * 2 end).requires_grad)
      assert.is_false((w * 2).requires_grad)
    end)
    assert.is_true(fg.set_grad_enabled(false))
    assert.is_false(fg.set_grad_enabled(true))
  end)

  it("no_grad refuses to yield", function()
    local co = coroutine.create(function() fg.no_grad(function() coroutine.yield() end) end)
    local ok, message = coroutine.resume(co)
    assert.is_false(ok)
    assert.is_truthy(message:find("yield"))
    assert.is_true(fg.grad_enabled())
  end)

  it("keeps the traceback of an error inside", function()
    local trace
    xpcall(function()
      fg.no_grad(function() error "deep" end)
    end, function(m) trace = debug.traceback(m) end)
    assert.is_truthy(trace:find("autograd_spec"))
    assert.is_truthy(trace:find("no_grad"))
  end)

  it("refuses to write into what a graph needs", function()
    local w = leaf { 1 }
    raises("requires", w.fill_, w, 2)
    fg.no_grad(function() w:fill_(2) end)
    assert.equal(2.0, w:item())
    local y = w * 2
    raises("fill: ", y.fill_, y, 1)
  end)

  it("marks leaves only, f32 only", function()
    local w = fg.ones(2):requires_grad_()
    assert.is_true(w:is_leaf() and w.requires_grad)
    assert.is_nil(w:op_name())
    assert.equal("mul", (w * w):op_name())
    raises(".", function() (w * 2).requires_grad = false end)
    raises("i32", function() fg.ones({ 1, dtype = "i32" }):requires_grad_() end)
    assert.is_false((w:detach() * 1).requires_grad)
    w.requires_grad = false
    assert.is_false(w.requires_grad)
    raises("requires_grad is true or false", function() w.requires_grad = 1 end)
  end)
end)
