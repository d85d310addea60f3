--- The MNIST digits, and sets stored in the same four files (Fashion-MNIST, KMNIST, EMNIST's digits).
local core = require "forger.core"
local fg = require "forger"
local words = require "forger.words"

local mnist = {}

local FILES = {
  train = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte" },
  test = { "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" },
}

local function path_of(folder, name)
  for _, candidate in ipairs { name, name .. ".gz", (name:gsub("%-idx", ".idx")), (name:gsub("%-idx", ".idx")) .. ".gz" } do
    local path = folder .. "/" .. candidate
    if core.exists(path) then
      return path
    end
  end
  return nil
end

local function parent(path)
  return path:match("^(.*)/[^/]*$")
end

-- Folders to look in, in order. "The script's folder" is that of arg[0]; the installed copies are found from the place
-- of this module: TREE/share/lua/5.4/forger/init.lua belongs to TREE/share/forger (make install) or to
-- TREE/lib/luarocks/rocks-5.4/forger/VERSION (LuaRocks), and ROOT/lua/forger/init.lua to the source tree in ROOT.
local function candidates()
  local list = {}
  local script = type(arg) == "table" and arg[0]
  if script then
    local folder = parent(script) or "."
    list[#list + 1] = folder .. "/data/mnist"
  end
  local variable = core.getenv("FORGER_DATA")
  if variable and variable ~= "" then
    list[#list + 1] = variable .. "/mnist"
    list[#list + 1] = variable
  end
  local module = package and package.searchpath and package.searchpath("forger", package.path)
  local home = module and parent(module)
  if home and home:match("/forger$") then
    home = parent(home)
  end
  if home then
    local share = parent(parent(home) or "") -- TREE/share of TREE/share/lua/5.4
    if share then
      list[#list + 1] = share .. "/forger/examples/data/mnist"
      local rocks = (parent(share) or "") .. "/lib/luarocks/rocks-5.4/forger"
      for _, version in ipairs(core.list_dir(rocks) or {}) do
        list[#list + 1] = rocks .. "/" .. version .. "/examples/data/mnist"
      end
    end
    list[#list + 1] = (parent(home) or ".") .. "/examples/data/mnist"
  end
  return list
end

--- The folder that holds the four MNIST files: `dir` itself (or dir/mnist) when given, else beside the script,
--- $FORGER_DATA, the installed examples.
---@param dir string?
---@return string? folder
---@return string? message
function mnist.find(dir)
  local list = dir and { dir, dir .. "/mnist" } or candidates()
  for _, folder in ipairs(list) do
    if path_of(folder, FILES.train[1]) or path_of(folder, FILES.test[1]) then
      return folder
    end
  end
  if dir then
    if not core.exists(dir) then
      return nil, dir .. ": no such folder"
    end
    return nil, dir .. ": no MNIST files there (" .. FILES.train[1] .. "[.gz] and the other three)"
  end
  return nil, "MNIST not found; looked in " .. table.concat(list, ", ") .. " (name its folder with --data or $FORGER_DATA)"
end

--- The digits: 28x28 grey images in f32, and their labels 0..9.
---
--- options: split "train" (60,000 images, the default) or "test" (10,000); range what black and white become, {-1, 1}.
---@param dir string? folder of the four files, plain or .gz; nil looks in the usual places
---@param options {split: string, range: number[]}?
---@return forger.data.ImageSet? set batches are x [N,28,28,1] f32, y [N] i32
---@return string? message
function mnist.load(dir, options)
  options = words.check_options("data.mnist", options, { "split", "range" })
  local split = words.check_choice("data.mnist", "split", options.split or "train", { "train", "test" })
  local folder, message = mnist.find(dir)
  if not folder then
    return nil, message
  end
  local tensors = {}
  for i, name in ipairs(FILES[split]) do
    local path = path_of(folder, name)
    if not path then
      return nil, folder .. "/" .. name .. "[.gz]: no such file"
    end
    tensors[i], message = fg.idx(path)
    if not tensors[i] then
      return nil, message
    end
  end
  local images, labels = tensors[1], tensors[2]
  if images.ndim ~= 3 or images.dtype ~= "u8" or labels.ndim ~= 1 or labels.dtype ~= "u8" then
    return nil, folder .. ": the " .. split .. " files hold ranks " .. images.ndim .. " and " .. labels.ndim .. " of "
      .. images.dtype .. " and " .. labels.dtype .. ", expected bytes of rank 3 and 1"
  elseif images:size(1) ~= labels:size(1) then
    return nil, folder .. ": " .. images:size(1) .. " " .. split .. " images but " .. labels:size(1) .. " labels"
  elseif images:size(1) == 0 then
    return nil, folder .. ": the " .. split .. " files are empty"
  end
  local set = require("forger.data").ImageSet(
    images:reshape(images:size(1), images:size(2), images:size(3), 1), labels, { range = options.range })
  set.folder = folder
  return set
end

return mnist
