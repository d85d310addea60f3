-- The table of `make bench-peers`: JSON lines of step.lua and peers.py in, lines of Markdown out.
--
-- A result is a decoded line: { fw, mode, work, ms, ... }. Several results of one contender (rounds) count by their median.
-- Forger's row stands against the best peer of the same precision, and, in the last column, against the best of any.
local table_of = {}

table_of.NAMES = {
  torch = { eager = "PyTorch eager", ["eager-nchw"] = "PyTorch eager", compile = "PyTorch compiled" },
  keras = { eager = "Keras tf.function", xla = "Keras XLA" },
  jax = { eager = "JAX jit" },
}
local LAYOUT = { eager = ", channels-last", ["eager-nchw"] = ", NCHW" }
local DENSE = { mlp = true, toy = true, tiny = true } -- works without images: layouts mean nothing there

function table_of.dense(work)
  return DENSE[work] == true
end

-- f32 or bf16: what a mode of either script computes in.
function table_of.precision(mode)
  return mode:find("bf16", 1, true) and "bf16" or "f32"
end

-- "torch", "bf16-nchw", "book" -> "PyTorch eager, NCHW"
function table_of.name(fw, mode, work)
  local plain = mode:gsub("%-?bf16", "", 1):gsub("^%-", "")
  if plain == "" or plain == "nchw" then
    plain = plain == "" and "eager" or "eager-nchw"
  end
  local name = table_of.NAMES[fw] and table_of.NAMES[fw][plain] or fw .. " " .. plain
  if fw == "torch" and not DENSE[work] and LAYOUT[plain] then
    name = name .. LAYOUT[plain]
  end
  return name
end

function table_of.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local n = #sorted
  if n == 0 then
    return nil
  end
  return n % 2 == 1 and sorted[(n + 1) // 2] or (sorted[n // 2] + sorted[n // 2 + 1]) / 2
end

-- Why a run failed: the last line of its stderr that names an error, or else the last one.
function table_of.reason(text)
  local last, named
  for line in text:gmatch "[^\n]*%S[^\n]*" do
    last = line
    named = line:match "^[%w_.]*Error:.*" or line:match "^[%w_.]*Exception:.*" or line:match "error: .*" or named
  end
  return named or last
end

-- { { work, precision, forger, peer, name, ratio, ratio_any } }; what was not measured is nil.
function table_of.rows(results, works, precisions)
  local times = {} -- work -> list of { fw, mode, list of ms }
  for _, r in ipairs(results) do
    local group = times[r.work] or {}
    times[r.work] = group
    local id = r.fw .. " " .. r.mode
    if not group[id] then
      group[id] = { fw = r.fw, mode = r.mode }
      group[#group + 1] = group[id]
    end
    table.insert(group[id], r.ms)
  end
  local rows = {}
  for _, work in ipairs(works) do
    for _, precision in ipairs(precisions) do
      local row, any = { work = work, precision = precision }, nil
      for _, contender in ipairs(times[work] or {}) do
        local ms, same = table_of.median(contender), table_of.precision(contender.mode) == precision
        if contender.fw == "forger" then
          row.forger = contender.mode == precision and ms or row.forger
        else
          any = math.min(any or ms, ms)
          if same and (row.peer == nil or ms < row.peer) then
            row.peer, row.name = ms, table_of.name(contender.fw, contender.mode, work)
          end
        end
      end
      row.ratio = row.forger and row.peer and row.peer / row.forger
      row.ratio_any = row.forger and any and any / row.forger
      rows[#rows + 1] = row
    end
  end
  return rows
end

local function milliseconds(ms)
  return ms and string.format(ms < 10 and "%.3f" or ms < 100 and "%.1f" or "%.0f", ms) or ""
end

-- Three digits after the point near 1, so that a narrow loss does not read 1.00; a loss says that it is one.
local function ratio(r)
  if not r then
    return ""
  end
  local text = string.format(math.abs(r - 1) < 0.005 and "%.3f" or "%.2f", r)
  return r < 1 and text .. " **slower**" or text
end

local HEAD = { "work", "precision", "Forger ms", "best peer ms", "best peer", "ratio", "ratio, any precision" }
local RIGHT = { [3] = true, [4] = true }

-- The rows as one Markdown table, padded so that it also reads well in a terminal.
function table_of.format(rows)
  local cells, width = { HEAD }, {}
  for _, row in ipairs(rows) do
    cells[#cells + 1] = { row.work, row.precision, milliseconds(row.forger), milliseconds(row.peer), row.name or "", ratio(row.ratio),
      ratio(row.ratio_any) }
  end
  for i in ipairs(HEAD) do
    width[i] = 0
    for _, line in ipairs(cells) do
      width[i] = math.max(width[i], #line[i])
    end
  end
  local out = {}
  for n, line in ipairs(cells) do
    local padded, rule = {}, {}
    for i, text in ipairs(line) do
      padded[i] = string.format(RIGHT[i] and "%" .. width[i] .. "s" or "%-" .. width[i] .. "s", text)
      rule[i] = RIGHT[i] and string.rep("-", width[i] - 1) .. ":" or string.rep("-", width[i])
    end
    out[#out + 1] = "| " .. table.concat(padded, " | ") .. " |"
    if n == 1 then
      out[#out + 1] = "| " .. table.concat(rule, " | ") .. " |"
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- "3 of 5 rows: ..." in words, wins and losses alike.
function table_of.verdict(rows)
  local faster, slower, open = 0, 0, 0
  for _, row in ipairs(rows) do
    if not row.ratio then
      open = open + 1
    elseif row.ratio < 1 then
      slower = slower + 1
    else
      faster = faster + 1
    end
  end
  return string.format("Forger is faster than the best peer of the same precision in %d of %d rows, slower in %d%s.", faster, #rows, slower,
    open > 0 and string.format(", and %d could not be compared", open) or "")
end

-- A page with its figures, which begin at MARK and end with the page, replaced.
table_of.MARK = "<!-- figures: written by make bench-peers SAVE=1 -->"
function table_of.replace(page, figures)
  local at = page:find(table_of.MARK, 1, true)
  if not at then
    return nil, "the page lacks the line " .. table_of.MARK
  end
  return page:sub(1, at - 1) .. table_of.MARK .. "\n\n" .. figures
end

return table_of
