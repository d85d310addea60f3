-- Tensors from Lua: making, reading, writing, arithmetic, messages.
local fg = require "forger"

local function near(want, got, tolerance)
  assert.is_true(math.abs(want - got) <= (tolerance or 1e-6), string.format("expected %.9g, got %.9g", want, got))
end

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), "message: " .. tostring(message))
end

describe("making tensors", function()
  it("takes sizes as numbers or as a table with options", function()
    assert.same({ 2, 3 }, fg.zeros(2, 3).shape)
    assert.same({ 2, 3 }, fg.zeros({ 2, 3 }).shape)
    assert.same({ 2, 3 }, fg.ones(28 / 14, 3.0).shape)
    local t = fg.zeros { 2, 3, dtype = "u8" }
    assert.equal("u8", t.dtype)
    assert.equal("i32", fg.ones(4, { dtype = "i32" }).dtype)
    assert.is_true(fg.zeros { 2, requires_grad = true }.requires_grad)
    assert.same({}, fg.zeros({}).shape)
    assert.same({ { 7.0, 7.0 } }, fg.full({ 1, 2 }, 7):totable())
  end)

  it("makes tensors of nested tables and of numbers", function()
    assert.same({ { 1.0, 2.0 }, { 3.0, 4.0 } }, fg.tensor({ { 1, 2 }, { 3, 4 } }):totable())
    assert.equal(5.0, fg.tensor(5):item())
    local ids = fg.tensor({ 1, 2 }, "i32"):totable()
    assert.equal("integer", math.type(ids[1]))
    assert.same({ 0 }, fg.tensor({}).shape)
  end)

  it("refuses ragged tables and what is no number, naming the place", function()
    raises("%[2%] has 1 elements, %[1%] has 2", fg.tensor, { { 1, 2 }, { 3 } })
    raises("%[1%]%[2%] is the string 'x'", fg.tensor, { { 1, "x" } })
    raises("%[2%] is the number 3, not a table", fg.tensor, { { 1, 2 }, 3 })
    raises("= 300 does not fit dtype u8", fg.tensor, { 300 }, "u8")
  end)

  it("refuses strings and fractions as sizes, and unknown options with a suggestion", function()
    raises("a size is an integer, got the string '2'", fg.zeros, "2")
    raises("a size is an integer, got the number 2.5", fg.zeros, { 2.5 })
    raises("unknown option 'dtyp', did you mean 'dtype'%?", fg.zeros, { 2, dtyp = "u8" })
    raises("unknown dtype 'f33', did you mean 'f32'", fg.zeros, { 2, dtype = "f33" })
    raises("unknown random stream 'latnt', did you mean 'latent'", fg.randn, 2, { stream = "latnt" })
  end)

  it("counts like NumPy", function()
    assert.same({ 0.0, 1.0, 2.0 }, fg.arange(3):totable())
    assert.same({ 2.0, 4.0 }, fg.arange(2, 6, 2):totable())
    assert.same({ 3, 2, 1 }, fg.arange(3, 0, -1, { dtype = "i32" }):totable())
    assert.same({ 0.0, 0.5, 1.0 }, fg.linspace(0, 1, 3):totable())
    assert.same({ { 1.0, 0.0 }, { 0.0, 1.0 } }, fg.eye(2):totable())
  end)

  it("draws from named streams that do not move each other", function()
    fg.manual_seed(5)
    local a = fg.randn(4, { stream = "latent" })
    fg.manual_seed(5)
    fg.rand(100)
    fg.randperm(10, { stream = "data" })
    assert.is_true(fg.equal(a, fg.randn(4, { stream = "latent" })))
    local u = fg.rand(1000, { low = -1, high = 1 })
    assert.is_true(u:min():item() >= -1 and u:max():item() < 1 and u:min():item() < -0.9)
    local p = fg.randperm(5):totable()
    table.sort(p)
    assert.same({ 0, 1, 2, 3, 4 }, p)
    local r = fg.randint(500, 3, 5)
    assert.equal(3.0, r:to("f32"):min():item())
    assert.equal(5.0, r:to("f32"):max():item())
  end)
end)

describe("reading and writing", function()
  it("selects rows, numbers and the nil behind the end", function()
    local t = fg.tensor { { 1, 2 }, { 3, 4 } }
    assert.same({ 3.0, 4.0 }, t[2]:totable())
    assert.same({ 3.0, 4.0 }, t[-1]:totable())
    assert.equal(4.0, t[2][2])
    assert.is_nil(t[3])
    assert.equal(2, #t)
    local rows = 0
    for i, row in ipairs(t) do
      rows = rows + i * row:sum():item()
    end
    assert.equal(1 * 3 + 2 * 7, rows)
    raises("index 0 is out of range 1..2 of axis 1", function() return t[0] end)
    raises("index 5 is out of range", function() return t[5] end)
    raises("rank 0 cannot be indexed", function() return fg.tensor(1)[1] end)
  end)

  it("raises on unknown fields and suggests", function()
    raises("unknown tensor field or method 'reshpe', did you mean 'reshape'", function() return fg.ones(1).reshpe end)
    raises("unknown tensor field or method 'xyzzy'$", function() return fg.ones(1).xyzzy end)
    raises("field 'shape' is read only", function() fg.ones(1).shape = { 2 } end)
    raises("unknown tensor field", function() fg.ones(1).name = "x" end)
  end)

  it("writes rows, numbers and slices", function()
    local t = fg.zeros(3, 2)
    t[1] = 5
    t[2] = fg.tensor { 1, 2 }
    t:set(3, 2, 9)
    assert.same({ { 5.0, 5.0 }, { 1.0, 2.0 }, { 0.0, 9.0 } }, t:totable())
    assert.equal(9.0, t:get(-1, -1))
    t:set_slice(2, 2, 2, fg.tensor { { 7 }, { 8 }, { 9 } })
    assert.same({ { 5.0, 7.0 }, { 1.0, 8.0 }, { 0.0, 9.0 } }, t:totable())
    t:set_slice(1, 2, 3, 0)
    assert.same({ { 5.0, 7.0 }, { 0.0, 0.0 }, { 0.0, 0.0 } }, t:totable())
    raises("has shape %[2%], the value %[3%]", function() t[1] = fg.zeros(3) end)
    raises("takes 2 positions, got 1", t.get, t, 1)
    raises("shares memory", function() t[1] = t[2] end)
  end)

  it("keeps slices values: writing to one raises", function()
    local t = fg.zeros(3, 2)
    raises("view", function() t[1][1] = 4 end)
    raises("view", function() t[1]:fill_(4) end)
    assert.equal(0.0, t:sum():item())
  end)

  it("gives integers for u8 and i32 and floats for f32", function()
    assert.equal("integer", math.type(fg.ones({ 1, dtype = "u8" })[1]))
    assert.equal("integer", math.type(fg.ones({ 1, dtype = "i32" }):item()))
    assert.equal("float", math.type(fg.ones(1):item()))
    raises("one element expected, got shape %[2%]", function() fg.ones(2):item() end)
  end)

  it("slices with both ends included", function()
    local t = fg.arange(6):reshape(2, 3)
    assert.same({ { 1.0, 2.0 }, { 4.0, 5.0 } }, t:slice(2, 2, 3):totable())
    assert.same({ { 5.0 } }, t:slice(1, 2):slice(-1, -1):totable())
    raises("slice: 2..5 is no range in 1..3", t.slice, t, 2, 2, 5)
  end)

  it("writes in place and clones", function()
    local t = fg.ones(2)
    local c = t:clone()
    assert.equal(t, t:add_(2):mul_(3):sub_(1):div_(2))
    assert.same({ 4.0, 4.0 }, t:totable())
    t:add_(fg.tensor { 1, 2 }, 10)
    assert.same({ 14.0, 24.0 }, t:totable())
    assert.same({ 14.0, 20.0 }, t:clamp_(0, 20):totable())
    assert.same({ 1.0, 1.0 }, c:totable())
    assert.same({ 1.0, 1.0 }, t:copy_(c):totable())
    assert.same({ 0.0, 0.0 }, t:zero_():totable())
  end)

  it("knows finite from infinite", function()
    assert.is_true(fg.tensor({ 1, 2 }):is_finite())
    assert.is_false(fg.tensor({ 1, 0 / 0 }):is_finite())
    assert.is_false(fg.tensor({ 1, math.huge }):to("bf16"):is_finite())
  end)

  it("prints with a footer", function()
    assert.is_truthy(tostring(fg.zeros(2, 3)):find("[FloatTensor of size 2x3]", 1, true))
    assert.is_true(#tostring(fg.zeros(1000, 1000)) < 5000)
  end)
end)

describe("arithmetic", function()
  local x = fg.tensor { { 1, 2 }, { 3, 4 } }

  it("has operators with tensors and numbers", function()
    assert.same({ { 2.0, 3.0 }, { 4.0, 5.0 } }, (x + 1):totable())
    assert.same({ { 0.0, -1.0 }, { -2.0, -3.0 } }, (1 - x):totable())
    assert.same({ { 1.0, 4.0 }, { 9.0, 16.0 } }, (x ^ 2):totable())
    assert.same({ { 1.0, 4.0 }, { 9.0, 16.0 } }, (x * x):totable())
    assert.same({ { 2.0, 4.0 }, { 8.0, 16.0 } }, (2 ^ x):totable())
    assert.same({ { -1.0, -2.0 }, { -3.0, -4.0 } }, (-x):totable())
    assert.equal(12 / 4, (12 / x):get(2, 2))
    near(2 / 3, (x / 3):get(1, 2))
    assert.equal(1.0, (fg.tensor { 49 } / 49):item()) -- rounded once
    near(2 ^ 1.5, (fg.tensor { 2 } ^ fg.tensor { 1.5 }):item())
    raises("attempt to add a tensor and the string '1'", function() return x + "1" end)
    raises("attempt to multiply a tensor and nil", function() return nil * x end)
    raises("c > 0, got %-2", function() return (-2) ^ x end)
  end)

  it("broadcasts as NumPy and names the shapes when it cannot", function()
    assert.same({ { 11.0, 22.0 }, { 13.0, 24.0 } }, (x + fg.tensor { 10, 20 }):totable())
    assert.same({ 2, 2 }, (fg.ones(2, 1) * fg.ones(2)).shape)
    raises("%[2,2%].*%[3%]", function() return x + fg.ones(3) end)
  end)

  it("compares elements with tensors or numbers, and orders no tensors", function()
    assert.same({ { 0, 0 }, { 1, 1 } }, x:gt(2):totable())
    assert.same({ { 0, 1 }, { 0, 0 } }, x:eq(fg.full({ 2, 2 }, 2)):totable())
    assert.same({ 1, 0 }, fg.tensor({ 2 ^ 24 + 1, 3 }, "i32"):eq(2 ^ 24 + 1):totable())
    assert.is_true(x == x) -- luacheck: ignore
    assert.is_false(x == fg.tensor { { 1, 2 }, { 3, 4 } })
    assert.is_true(fg.equal(x, fg.tensor { { 1, 2 }, { 3, 4 } }))
    raises("tensors have no order", function() return x < x end) -- luacheck: ignore
    assert.equal("u8", x:lt(1).dtype)
    assert.same({ { 9.0, 2.0 }, { 3.0, 4.0 } }, fg.where(x:lt(2), 9, x):totable())
    assert.same({ { 3.0, 3.0 }, { 3.0, 4.0 } }, fg.maximum(x, 3):totable())
  end)

  it("reduces over axes counted from 1", function()
    assert.same({ 4.0, 6.0 }, x:sum(1):totable())
    assert.same({ { 3.0 }, { 7.0 } }, x:sum(-1, true):totable())
    assert.equal(10.0, x:sum({ 1, 2 }):item())
    assert.equal(10.0, fg.sum(x):item())
    assert.equal(2.5, x:mean():item())
    assert.same({ 1, 1 }, x:argmax(2):totable())
    assert.equal(1.25, x:var():item())
    near(math.sqrt(30), x:norm():item(), 1e-5)
    near(1, x:softmax():sum(2):get(1), 1e-6)
    raises("'axis' is an axis", x.sum, x, 0)
    raises("3", x.sum, x, 3)
    raises("'keepdim' is true or false, got the number 2", x.sum, x, 1, 2)
  end)

  it("changes shapes", function()
    local t = fg.arange(24):reshape(2, 3, 4)
    assert.same({ 4, 3, 2 }, t:transpose().shape)
    assert.same({ 2, 4, 3 }, t:transpose(2, 3).shape)
    assert.same({ 3, 4, 2 }, t:transpose({ 2, 3, 1 }).shape)
    assert.same({ 3, 4, 2 }, t:permute(2, 3, 1).shape)
    assert.equal(t:get(2, 3, 4), t:permute(2, 3, 1):get(3, 4, 2))
    assert.same({ 2, 12 }, t:flatten().shape)
    assert.same({ 6, 4 }, t:reshape(-1, 4).shape)
    assert.same({ 1, 2, 3, 4 }, t:unsqueeze(1).shape)
    assert.same({ 2, 3, 4, 1 }, t:unsqueeze(-1).shape)
    assert.same({ 3 }, fg.ones(1, 3, 1):squeeze().shape)
    assert.same({ 2, 3, 8 }, fg.cat({ t, t }, 3).shape)
    assert.same({ 2, 2, 3, 4 }, fg.stack({ t, t }).shape)
    assert.same({ 2, 3, 4, 2 }, fg.stack({ t, t }, -1).shape)
    assert.same({ 2, 2 }, fg.ones(2):broadcast_to(2, 2).shape)
    raises("reshape", t.reshape, t, 5, 5)
    raises("one argument too many", t.exp, t, 1)
  end)

  it("takes ids as tensors counted from 0 or as lists counted from 1", function()
    local table_ = fg.tensor { { 1, 1 }, { 2, 2 }, { 3, 3 } }
    assert.same({ { 3.0, 3.0 }, { 1.0, 1.0 } }, fg.gather(table_, { 3, 1 }):totable())
    assert.same({ { 3.0, 3.0 }, { 1.0, 1.0 } }, fg.gather(table_, fg.tensor({ 2, 0 }, "i32")):totable())
    raises("position 2 of the list is the number 0", fg.gather, table_, { 1, 0 })
    near(math.log(2), fg.cross_entropy(fg.zeros(1, 2), fg.zeros { 1, dtype = "u8" }):item())
  end)

  it("computes cross-entropy row by row, on any number of threads", function()
    local was = fg.get_threads()
    for _, shape in ipairs { { 5003, 10 }, { 3, 5000 }, { 700, 1 } } do
      local rows, classes = shape[1], shape[2]
      local logits = fg.randn(rows, classes)
      local list, hot = {}, fg.zeros(rows, classes)
      for i = 1, rows do
        list[i] = i % classes
        hot:set(i, list[i] + 1, 1)
      end
      local labels, want = fg.tensor(list, "i32"), -(logits:log_softmax() * hot):sum(2)
      for threads = 1, 3 do
        fg.set_threads(threads)
        assert.is_true(fg.equal(want, fg.cross_entropy(logits, labels)))
      end
    end
    fg.set_threads(was)
  end)

  it("keeps the dtype of bf16 under numbers", function()
    local h = fg.ones(3):to("bf16")
    for _, y in ipairs { h + 1, h * 2.5, h / 3, 2 - h, 1 / h } do
      assert.equal("bf16", y.dtype)
    end
    assert.equal("f32", (h + fg.ones(3)).dtype)
  end)

  it("computes a matrix product and a convolution", function()
    assert.same({ { 7.0, 10.0 }, { 15.0, 22.0 } }, x:matmul(x):totable())
    assert.same({ { 10.0, 14.0 }, { 14.0, 20.0 } }, x:matmul(x, true, false):totable())
    local y = fg.conv2d(fg.ones(1, 4, 4, 1), fg.ones(3, 3, 1, 1), { padding = "same", stride = { 1, 2 } })
    assert.same({ 1, 4, 2, 1 }, y.shape)
    assert.same({ 1, 2, 2, 1 }, fg.avg_pool2d(fg.ones(1, 4, 4, 1), 2).shape)
    raises("input %[1,4,4,2%] has 2 channels, weight %[3,3,1,1%] expects 1", fg.conv2d, fg.ones(1, 4, 4, 2), fg.ones(3, 3, 1, 1))
    raises("unknown option 'strides', did you mean 'stride'", fg.conv2d, y, y, { strides = 2 })
    raises("bad argument #1 to 'conv2d' %(a tensor expected, got nil%)", fg.conv2d, nil)
  end)

  it("computes convolutions that are one matrix product as sums over pixels say", function()
    local function leaky(v)
      return v > 0 and v or 0.25 * v
    end
    local function agree(want, got)
      assert.same(fg.tensor(want).shape, got.shape)
      near(0, (got - fg.tensor(want)):abs():max():item(), 1e-5)
    end
    local cases = {
      { n = 3, h = 4, k = 4, ci = 5, co = 2 }, { n = 2, h = 3, k = 3, ci = 2, co = 7, stride = 2 },
      { n = 9, h = 5, k = 5, ci = 3, co = 1 },
      { n = 2, h = 3, k = 1, ci = 4, co = 6 }, { n = 2, h = 3, k = 3, ci = 2, co = 3, stride = 3, padding = 1 }, -- the last is none
    }
    for _, case in ipairs(cases) do
      local n, h, k, ci, co, stride, pad = case.n, case.h, case.k, case.ci, case.co, case.stride or 1, case.padding or 0
      local oh = (h + 2 * pad - k) // stride + 1
      local images, w = fg.rand { n, h, h, ci, low = -1 }, fg.rand { k, k, ci, co, low = -1 }
      local dy, b, back = fg.rand { n, oh, oh, co, low = -1 }, fg.rand { co, low = -1 }, fg.rand { ci, low = -1 }
      local y = fg.conv2d(images, w, b, { stride = stride, padding = pad, act = "leaky_relu", slope = 0.25 }):totable()
      local size = { stride = stride, padding = pad, output_size = { h, h } }
      local t, tb = fg.conv_transpose2d(dy, w, size), fg.conv_transpose2d(dy, w, back, size)
      local dw = fg.conv2d_dw(images, dy, { k, k }, { stride = stride, padding = pad })
      images, w, dy, b, back = images:totable(), w:totable(), dy:totable(), b:totable(), back:totable()
      local want_t, want_dw = fg.zeros(n, h, h, ci):totable(), fg.zeros(k, k, ci, co):totable()
      for i = 1, n do
        for p = 1, oh do
          for q = 1, oh do
            for o = 1, co do
              local sum, g = b[o], dy[i][p][q][o]
              for u = 1, k do
                for v = 1, k do
                  local row, column = (p - 1) * stride + u - pad, (q - 1) * stride + v - pad
                  local inside = row >= 1 and row <= h and column >= 1 and column <= h
                  for c = 1, inside and ci or 0 do
                    local pixel, weight, to = images[i][row][column], w[u][v][c], want_t[i][row][column]
                    sum = sum + pixel[c] * weight[o]
                    to[c] = to[c] + g * weight[o]
                    want_dw[u][v][c][o] = want_dw[u][v][c][o] + pixel[c] * g
                  end
                end
              end
              near(leaky(sum), y[i][p][q][o], 1e-5)
            end
          end
        end
      end
      agree(want_t, t)
      agree((fg.tensor(want_t) + fg.tensor(back)):totable(), tb)
      agree(want_dw, dw)
    end
  end)
end)
