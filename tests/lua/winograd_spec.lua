-- The Winograd transforms in the tree are what their generator makes, and the generator's matrices compute convolutions:
-- exactly, in rational numbers, for every window that the kernels use.
local make = dofile "tests/support/make_winograd.lua"

describe("winograd matrices", function()
  it("are those of the header", function()
    local f = assert(io.open "src/kernels/wino_programs.h")
    local text = f:read "a"
    f:close()
    assert.equal(make.header(), text)
  end)

  for _, set in ipairs { { "six", make.SIX, { 3, 4, 5 } }, { "eight", make.EIGHT, { 5 } } } do
    for _, r in ipairs(set[3]) do
      it(("of %s points convolve with %d taps"):format(set[1], r), function()
        local n = #set[2] + 1
        local m = n + 1 - r
        local At, G, Bt = make.matrices(set[2], m, r)
        local rat = function(v)
          return G[n][r] * make.rational(v)
        end
        local d, g = {}, {}
        for i = 1, n do
          d[i] = rat((i * i * 7 + 3) % 11 - 5)
        end
        for k = 1, r do
          g[k] = rat((k * 5 + 2) % 7 - 3)
        end
        local function apply(matrix, x)
          local y = {}
          for i, row in ipairs(matrix) do
            y[i] = rat(0)
            for j, c in ipairs(row) do
              y[i] = y[i] + c * x[j]
            end
          end
          return y
        end
        local u, v = apply(G, g), apply(Bt, d)
        for i = 1, n do
          u[i] = u[i] * v[i]
        end
        local y = apply(At, u)
        for o = 1, m do
          local want = rat(0)
          for k = 1, r do
            want = want + d[o + k - 1] * g[k]
          end
          assert.equal(tostring(want), tostring(y[o]))
        end
      end)
    end
  end

  it("become programs that compute the same", function()
    -- a program is C; its words mean the same in Lua
    local words = "local ADD, SUB = function(a, b) return a + b end, function(a, b) return a - b end "
      .. "local MUL, NEG, S = function(a, b) return a * b end, function(a) return -a end, function(c) return c end "
      .. "local FMA = function(a, b, c) return a * b + c end local x, y = ... "
      .. "local I = function(j) return x[j + 1] end local O = function(i, v) y[i + 1] = v end "
    local rows = make.floats(select(3, make.matrices(make.EIGHT, 4, 5)))
    local lines = make.program(select(3, make.matrices(make.EIGHT, 4, 5)), 8)
    local code = words .. table.concat(lines, "\n"):gsub("vf ", "local ")
    local x, y = { 3, -1, 4, 1, -5, 9, 2, -6 }, {}
    assert(load(code))(x, y)
    for i, row in ipairs(rows) do
      local want = 0
      for j, c in ipairs(row) do
        want = want + c * x[j]
      end
      assert.near(want, y[i], 1e-12)
    end
  end)
end)
