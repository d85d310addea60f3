--- nn.summary: what each layer makes of an input shape, and how many parameters it has.
local core = require "forger.core"
local module = require "forger.nn.module"
local tracing = module.tracing

local summary = {}

local function shape_text(x)
  return core.is_tensor(x) and "[" .. table.concat(x.shape, ", ") .. "]" or type(x)
end

local function with_commas(n)
  local text = tostring(n)
  local count = 1
  while count > 0 do
    text, count = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  end
  return text
end

--- Runs net once on zeros of the shape (eval mode, no gradient) and returns rows { name, layer, shape, params }.
---@param net forger.nn.Module
---@param shape integer[]
---@return table[] rows, integer total
function summary.rows(net, shape)
  local names, own, total = {}, {}, 0
  local function name_all(m, prefix)
    if names[m] then
      return
    end
    names[m] = prefix
    own[m] = 0
    m:each_own_tensor(function(_, t, is_parameter)
      if is_parameter then
        own[m] = own[m] + t:numel()
      end
    end)
    for _, child in ipairs(module.children_of(m)) do
      name_all(child.module, prefix == "" and child.name or prefix .. "." .. child.name)
    end
  end
  name_all(net, "")
  local rows, modes = {}, {}
  for i, m in ipairs(net:modules()) do
    modes[i] = m.training
  end
  net:eval()
  local outer = tracing.hook
  tracing.hook = function(m, ...)
    local y = m:forward(...)
    if #module.children_of(m) == 0 or own[m] > 0 then
      rows[#rows + 1] = { name = names[m] or "?", layer = m:describe(), shape = shape_text(y), params = own[m] or 0 }
    end
    return y
  end
  local ok, result = pcall(function()
    core.scope(function()
      core.no_grad(function()
        net(core.zeros(shape))
      end)
    end)
  end)
  tracing.hook = outer
  for i, m in ipairs(net:modules()) do
    rawset(m, "training", modes[i])
  end
  if not ok then
    error(result, 0)
  end
  for _, p in ipairs(net:parameters()) do
    total = total + p:numel()
  end
  return rows, total
end

--- The table as text.
---@param net forger.nn.Module
---@param shape integer[]
---@return string
function summary.text(net, shape)
  if not module.is_module(net) or type(shape) ~= "table" then
    core.raise("summary: a module and the shape of its input expected, as in nn.summary(G, { 1, 100 })")
  end
  local rows, total = summary.rows(net, shape)
  local cells, width = { { "place", "layer", "output shape", "parameters" } }, { 0, 0, 0, 0 }
  for i, row in ipairs(rows) do
    cells[i + 1] = { row.name, row.layer, row.shape, with_commas(row.params) }
  end
  for _, line in ipairs(cells) do
    for c, text in ipairs(line) do
      width[c] = math.max(width[c], #text)
    end
  end
  local out = {}
  for i, line in ipairs(cells) do
    out[#out + 1] = string.format(
      "%-" .. width[1] .. "s  %-" .. width[2] .. "s  %-" .. width[3] .. "s  %" .. width[4] .. "s", table.unpack(line))
    if i == 1 then
      out[#out + 1] = ("-"):rep(width[1] + width[2] + width[3] + width[4] + 6)
    end
  end
  out[#out + 1] = out[2]
  out[#out + 1] = "total parameters: " .. with_commas(total)
  return table.concat(out, "\n")
end

return summary
