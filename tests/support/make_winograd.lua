-- Writes src/kernels/wino_programs.h: the transforms of Winograd's convolution for the two sets of points that the kernels
-- use, as straight-line programs; and src/kernels/wino_edge_programs.h: those of the last tile of an axis, which has fewer
-- outputs. Run it again after a change here:
--
--   lua5.4 tests/support/make_winograd.lua > src/kernels/wino_programs.h
--   lua5.4 tests/support/make_winograd.lua edge > src/kernels/wino_edge_programs.h
--
-- Points in, exact rational matrices out (Toom and Cook's construction; Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308).
-- For m outputs of a kernel with r taps and n = m + r - 1 points, the last of which is infinity,
--
--   y = A^T [ (G g) * (B^T d) ],   A[i][k] = p_i^k,   G[i][k] = p_i^k / prod_{j /= i} (p_i - p_j),
--   row i of B^T: the coefficients of prod_{j /= i} (x - p_j); the last row: those of prod_j (x - p_j).
--
-- The last tile of an axis may have m' < m outputs. It needs only n' = m' + r - 1 of the points, and reads n' numbers. So that it
-- shares G, and with it the transformed weights, what its own G would have instead goes to its B^T: with S the points in use,
--
--   row i of its B^T: prod over d not in S of (p_i - p_d), times the coefficients of prod over j in S, j /= i, of (x - p_j).
--
-- A transform is applied millions of times, so each matrix becomes a program: pairs of terms that several rows share are
-- computed once (greedy elimination of common subexpressions).
local M = {}

-- ---------------------------------------------------------------- rational numbers
local R = {}
R.__index = R
local function gcd(a, b)
  while b ~= 0 do
    a, b = b, a % b
  end
  return a < 0 and -a or a
end
local function rat(n, d)
  d = d or 1
  local g = gcd(n, d)
  if d < 0 then
    g = -g
  end
  return setmetatable({ n = n // g, d = d // g }, R)
end
R.__add = function(a, b)
  return rat(a.n * b.d + b.n * a.d, a.d * b.d)
end
R.__sub = function(a, b)
  return rat(a.n * b.d - b.n * a.d, a.d * b.d)
end
R.__mul = function(a, b)
  return rat(a.n * b.n, a.d * b.d)
end
R.__div = function(a, b)
  return rat(a.n * b.d, a.d * b.n)
end
R.__eq = function(a, b)
  return a.n == b.n and a.d == b.d
end
R.__tostring = function(a)
  return a.d == 1 and ("%d"):format(a.n) or ("%d/%d"):format(a.n, a.d)
end
local ZERO, ONE = rat(0), rat(1)
M.rational = rat

-- a matrix of rationals in floating point
function M.floats(a)
  local t = {}
  for i, row in ipairs(a) do
    t[i] = {}
    for j, c in ipairs(row) do
      t[i][j] = c.n / c.d
    end
  end
  return t
end

-- ---------------------------------------------------------------- the three matrices
local function power(p, k)
  local v = ONE
  for _ = 1, k do
    v = v * p
  end
  return v
end
-- points: the finite ones. Returns At[m][n], G[n][r], Bt[n][n].
function M.matrices(points, m, r)
  local n = m + r - 1
  assert(#points == n - 1)
  local At, G, Bt = {}, {}, {}
  for k = 1, m do
    At[k] = {}
    for i = 1, n - 1 do
      At[k][i] = power(points[i], k - 1)
    end
    At[k][n] = k == m and ONE or ZERO
  end
  local function product(skip)
    local c = { ONE }
    for j = 1, n - 1 do
      if j ~= skip then
        local next = {}
        for k = 1, #c + 1 do
          next[k] = (c[k - 1] or ZERO) - (c[k] or ZERO) * points[j]
        end
        c = next
      end
    end
    for k = #c + 1, n do
      c[k] = ZERO
    end
    return c
  end
  for i = 1, n - 1 do
    local f = ONE
    for j = 1, n - 1 do
      if j ~= i then
        f = f * (points[i] - points[j])
      end
    end
    G[i] = {}
    for k = 1, r do
      G[i][k] = power(points[i], k - 1) / f
    end
    Bt[i] = product(i)
  end
  G[n] = {}
  for k = 1, r do
    G[n][k] = k == r and ONE or ZERO
  end
  Bt[n] = product(nil)
  return At, G, Bt
end

-- The points of the six-point set that a last tile of m outputs of a kernel with three taps uses (6: infinity): the largest
-- are left out first.
M.EDGE = { { 1, 2, 6 }, { 1, 2, 3, 6 }, { 1, 2, 3, 5, 6 } }

-- Its matrices: At[m][6] and Bt[6][m + 2], zero where a point is not in use; G is that of M.matrices(points, 4, 3).
function M.edge_matrices(points, m)
  local kept, subset = {}, {}
  for _, i in ipairs(M.EDGE[m]) do
    kept[i] = true
    subset[#subset + 1] = points[i] -- infinity is not among them
  end
  local At, _, Bt = M.matrices(subset, m, 3)
  local wide, tall = {}, {}
  for k = 1, m do
    wide[k] = {}
  end
  local at = 0
  for i = 1, 6 do
    at = at + (kept[i] and 1 or 0)
    local f = ONE
    for d = 1, 5 do
      if i < 6 and not kept[d] then
        f = f * (points[i] - points[d])
      end
    end
    tall[i] = {}
    for j = 1, m + 2 do
      tall[i][j] = kept[i] and f * Bt[at][j] or ZERO
    end
    for k = 1, m do
      wide[k][i] = kept[i] and At[k][at] or ZERO
    end
  end
  return wide, tall
end

-- ---------------------------------------------------------------- matrix to program
local function term(c, x, sum)
  local lit = ("S(%s)"):format(c.d == 1 and ("%d"):format(c.n) or ("%.17g"):format(c.n / c.d))
  if not sum then
    return c == ONE and x or c == rat(-1) and ("NEG(%s)"):format(x) or ("MUL(%s, %s)"):format(lit, x)
  elseif c == ONE then
    return ("ADD(%s, %s)"):format(sum, x)
  elseif c == rat(-1) then
    return ("SUB(%s, %s)"):format(sum, x)
  end
  return ("FMA(%s, %s, %s)"):format(lit, x, sum)
end

-- Lines of C that compute y = rows x; reads I(j), writes O(i, value), but where a row is zero.
function M.program(rows, inputs)
  local names, expr, lines, ops = {}, {}, {}, 0
  for j = 1, inputs do
    names[j] = "x" .. j - 1
  end
  for i, row in ipairs(rows) do
    expr[i] = {}
    for j, c in ipairs(row) do
      expr[i][j] = c
    end
  end
  local nvars, temps = inputs, {}
  while true do
    -- the pair u + ratio*v that occurs most often; of equals the one without a multiplication, then the first
    local count, best = {}, nil
    for i = 1, #expr do
      for u = 1, nvars do
        for v = u + 1, nvars do
          local cu, cv = expr[i][u] or ZERO, expr[i][v] or ZERO
          if cu.n ~= 0 and cv.n ~= 0 then
            local ratio = cv / cu
            local key = u .. " " .. v .. " " .. tostring(ratio)
            local e = count[key] or { u = u, v = v, ratio = ratio, n = 0 }
            count[key] = e
            e.n = e.n + 1
            local function weight(q)
              return q.n * 2 + ((q.ratio == ONE or q.ratio == rat(-1)) and 1 or 0)
            end
            if e.n >= 2 and (not best or weight(e) > weight(best)) then
              best = e
            end
          end
        end
      end
    end
    if not best then
      break
    end
    nvars = nvars + 1
    names[nvars] = "t" .. #temps
    temps[#temps + 1] = ("vf t%d = %s;"):format(#temps, term(best.ratio, names[best.v], names[best.u]))
    ops = ops + 1
    for i = 1, #expr do
      local cu, cv = expr[i][best.u] or ZERO, expr[i][best.v] or ZERO
      if cu.n ~= 0 and cv == cu * best.ratio then
        expr[i][best.u], expr[i][best.v], expr[i][nvars] = ZERO, ZERO, cu
      end
    end
  end
  for i = 1, #expr do
    local sum, rest = nil, {}
    for v = 1, nvars do
      local c = expr[i][v] or ZERO
      if c.n ~= 0 then
        if not sum and c == ONE then
          sum = names[v]
        else
          rest[#rest + 1] = { c, names[v] }
        end
      end
    end
    for _, q in ipairs(rest) do
      sum = term(q[1], q[2], sum)
      ops = ops + 1
    end
    lines[#lines + 1] = sum and ("O(%d, %s);"):format(i - 1, sum)
  end
  local used = {}
  for i = 1, #rows do
    for j = 1, inputs do
      used[j] = used[j] or rows[i][j].n ~= 0
    end
  end
  local out = {}
  for j = 1, inputs do
    if used[j] then
      out[#out + 1] = ("vf x%d = I(%d);"):format(j - 1, j - 1)
    end
  end
  for _, t in ipairs(temps) do
    out[#out + 1] = t
  end
  for _, l in ipairs(lines) do
    out[#out + 1] = l
  end
  return out, ops
end

-- ---------------------------------------------------------------- what the kernels need
local half = rat(1, 2)
local minus = rat(-1)
M.SIX = { ZERO, ONE, minus, rat(2), rat(-1, 2) }
M.EIGHT = { ZERO, ONE, minus, rat(2), rat(-2), half, rat(-1, 2) }

local function transposed(a)
  local t = {}
  for j = 1, #a[1] do
    t[j] = {}
    for i = 1, #a do
      t[j][i] = a[i][j]
    end
  end
  return t
end
local function some_rows(a, first, last)
  return table.move(a, first, last, 1, {})
end
local function some_columns(a, first, last)
  return transposed(some_rows(transposed(a), first, last))
end

-- The lines of a file, and a function that adds a program to it.
local function file(name)
  local out = {
    ("/* %s: made by tests/support/make_winograd.lua, which explains it; do not edit. Included by"):format(name),
    " * conv_wino_body.h, which defines PROGRAM and the words that the programs are written in. */",
    "/* clang-format off */",
  }
  return out, function(program, rows, inputs)
    local lines, ops = M.program(rows, inputs)
    out[#out + 1] = ("/* %d inputs, %d outputs, %d operations */"):format(inputs, #rows, ops)
    out[#out + 1] = ("PROGRAM(%s,"):format(program)
    for _, l in ipairs(lines) do
      out[#out + 1] = "    " .. l
    end
    out[#out + 1] = ")"
  end
end

-- which points are in use: all, without infinity (taps in front), without 0 (behind), without both (in the middle)
local masks = { { "all", 1, 0 }, { "front", 1, 1 }, { "behind", 2, 0 }, { "middle", 2, 1 } }

function M.header()
  local out, emit = file "wino_programs.h"
  local _, _, B6 = M.matrices(M.SIX, 4, 3)
  local _, _, B8 = M.matrices(M.EIGHT, 4, 5)
  out[#out + 1] = "\n/* B^T: a window of the input to points */"
  for _, q in ipairs(masks) do
    emit("in6_" .. q[1], some_rows(B6, q[2], 6 - q[3]), 6)
  end
  emit("in8_all", B8, 8)
  out[#out + 1] = "\n/* A^T: points to outputs */"
  for _, q in ipairs(masks) do
    local At = M.matrices(M.SIX, 4, 3)
    emit("out6_4_" .. q[1], some_columns(At, q[2], 6 - q[3]), 6 - q[3] - q[2] + 1)
  end
  emit("out6_3_all", (M.matrices(M.SIX, 3, 4)), 6)
  emit("out6_2_all", (M.matrices(M.SIX, 2, 5)), 6)
  emit("out8_4_all", (M.matrices(M.EIGHT, 4, 5)), 8)
  out[#out + 1] = "\n/* A: gradients of outputs to points */"
  for m = 4, 2, -1 do
    emit(("lift6_%d"):format(m), transposed((M.matrices(M.SIX, m, 7 - m))), m)
  end
  emit("lift6_4_front", some_rows(transposed((M.matrices(M.SIX, 4, 3))), 1, 5), 4)
  emit("lift8_4", transposed((M.matrices(M.EIGHT, 4, 5))), 4)
  -- taps1: at the front, in the middle, behind; taps2: in front, behind
  local _, G3 = M.matrices(M.SIX, 4, 3)
  local function both(name, G, points, first, last)
    G = some_rows(some_columns(G, first, last), points[2], 6 - points[3])
    emit("taps" .. name, G, #G[1])
    emit("untaps" .. name, transposed(G), #G)
  end
  out[#out + 1] = "\n/* G: taps to points, and its transpose */"
  both("6_3", G3, masks[1], 1, 3)
  both("6_2_front", G3, masks[2], 1, 2)
  both("6_2_behind", G3, masks[3], 2, 3)
  both("6_1_front", G3, masks[2], 1, 1)
  both("6_1_middle", G3, masks[4], 2, 2)
  both("6_1_behind", G3, masks[3], 3, 3)
  for r = 4, 5 do
    local _, G = M.matrices(M.SIX, 7 - r, r)
    both("6_" .. r, G, masks[1], 1, r)
  end
  local _, G8 = M.matrices(M.EIGHT, 4, 5)
  emit("taps8_5", G8, 5)
  emit("untaps8_5", transposed(G8), 8)
  out[#out + 1] = "/* clang-format on */"
  return table.concat(out, "\n") .. "\n"
end

function M.edge_header()
  local out, emit = file "wino_edge_programs.h"
  for m = 3, 1, -1 do
    local At, Bt = M.edge_matrices(M.SIX, m)
    out[#out + 1] = ("\n/* a last tile of %d: B^T, A^T, A */"):format(m)
    for _, q in ipairs(masks) do
      emit(("edge_in%d_%s"):format(m, q[1]), some_rows(Bt, q[2], 6 - q[3]), m + 2)
    end
    for _, q in ipairs(masks) do
      emit(("edge_out%d_%s"):format(m, q[1]), some_columns(At, q[2], 6 - q[3]), 6 - q[3] - q[2] + 1)
    end
    emit(("edge_lift%d_all"):format(m), transposed(At), m)
    emit(("edge_lift%d_front"):format(m), some_rows(transposed(At), 1, 5), m)
  end
  out[#out + 1] = "/* clang-format on */"
  return table.concat(out, "\n") .. "\n"
end

if arg and arg[0] and arg[0]:match "make_winograd%.lua$" then
  io.write(arg[1] == "edge" and M.edge_header() or M.header())
end
return M
