-- The Winograd transforms in the tree are what their generator makes, and the generator's matrices compute convolutions:
-- exactly, in rational numbers, for every window that the kernels use.
local make = dofile "tests/support/make_winograd.lua"

local rat = make.rational
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

-- At [ (G taps) * (Bt window) ] is the sliding product of the two, for m outputs
local function check(At, G, Bt, m, taps, window)
  local u, v = apply(G, taps), apply(Bt, window)
  for i = 1, #u do
    u[i] = u[i] * v[i]
  end
  local y = apply(At, u)
  for o = 1, m do
    local want = rat(0)
    for k = 1, #taps do
      want = want + window[o + k - 1] * taps[k]
    end
    assert.equal(tostring(want), tostring(y[o]))
  end
end

local function some_window(n)
  local d = {}
  for i = 1, n do
    d[i] = rat((i * i * 7 + 3) % 11 - 5)
  end
  return d
end

describe("winograd matrices", function()
  for name, text in pairs { ["wino_programs.h"] = make.header(), ["wino_edge_programs.h"] = make.edge_header() } do
    it("are those of " .. name, function()
      local f = assert(io.open("src/kernels/" .. name))
      local there = f:read "a"
      f:close()
      assert.equal(text, there)
    end)
  end

  for _, set in ipairs { { "six", make.SIX, { 3, 4, 5 } }, { "eight", make.EIGHT, { 5 } } } do
    for _, r in ipairs(set[3]) do
      it(("of %s points convolve with %d taps"):format(set[1], r), function()
        local n = #set[2] + 1
        local m = n + 1 - r
        local At, G, Bt = make.matrices(set[2], m, r)
        local g = {}
        for k = 1, r do
          g[k] = rat((k * 5 + 2) % 7 - 3)
        end
        check(At, G, Bt, m, g, some_window(n))
      end)
    end
  end

  -- the last tile of an axis shares the transformed weights of all, whichever of its three taps a phase has
  for m = 1, 3 do
    it(("of a last tile of %d share G with whole tiles"):format(m), function()
      local _, G = make.matrices(make.SIX, 4, 3)
      local At, Bt = make.edge_matrices(make.SIX, m)
      for _, taps in ipairs { { 2, -3, 5 }, { 2, -3, 0 }, { 0, -3, 5 }, { 0, 7, 0 } } do
        for k = 1, 3 do
          taps[k] = rat(taps[k])
        end
        check(At, G, Bt, m, taps, some_window(m + 2))
        -- without taps in front, or behind, the points 0 and infinity do not matter
        local u = apply(G, taps)
        assert.equal(taps[1].n == 0, u[1].n == 0)
        assert.equal(taps[3].n == 0, u[6].n == 0)
      end
      local used = 0
      for i = 1, 6 do
        local any = false
        for j = 1, m + 2 do
          any = any or Bt[i][j].n ~= 0
        end
        used = used + (any and 1 or 0)
      end
      assert.equal(m + 2, used)
    end)
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
