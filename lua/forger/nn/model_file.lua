--- Model files: a safetensors file whose tensors are the state dict and whose metadata holds the architecture as JSON.
---
--- metadata: "format" = "forger-model-1"; "architecture" = { class, config, children } (built-in layers: config by name;
--- Sequential: children; your classes: config is the list of constructor arguments); "latent" when the module has one.
local core = require "forger.core"
local module = require "forger.nn.module"

local model_file = {}
local FORMAT = "forger-model-1"
local registry = {}

--- Makes a class known to nn.load.
---@param name string
---@param class forger.nn.Module
function model_file.register(name, class)
  if type(name) ~= "string" or type(class) ~= "table" or not class.is_forger_module then
    core.raise("register: a name and a class made by nn.Module:extend expected")
  end
  registry[name] = class
  return class
end

local function plain(value, depth)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" or value == core.json.null then
    return true
  elseif kind ~= "table" or getmetatable(value) ~= nil or depth > 8 then
    return false
  end
  for _, key in ipairs(require("forger.words").sorted_keys(value)) do
    if not plain(value[key], depth + 1) then
      return false
    end
  end
  return true
end

local function tree(m, place)
  if type(m) == "function" then
    return nil, place .. " is a plain function, which cannot be saved: make it a class with nn.Module:extend"
  end
  local node = { class = m.class }
  if getmetatable(m) == registry.Sequential then
    node.children = {}
    for i = 1, rawlen(m) do
      local child, message = tree(m[i], place .. "[" .. i .. "]")
      if not child then
        return nil, message
      end
      node.children[i] = child
    end
    return node
  end
  node.config = m:config()
  if not plain(node.config, 0) then
    return nil, place .. " (" .. m.class .. "): config() holds more than numbers, strings, booleans and tables of them: "
      .. "give the class a config method that returns the constructor's arguments as plain data"
  end
  return node
end

--- net:save(path, metadata)
function model_file.save(net, path, metadata)
  local node, message = tree(net, net.class)
  if not node then
    core.raise("save: " .. message)
  end
  local meta = {}
  for _, key in ipairs(require("forger.words").sorted_keys(metadata or {})) do
    meta[key] = metadata[key]
  end
  meta.format, meta.architecture = FORMAT, core.json.encode(node)
  local latent = rawget(net, "latent")
  if latent ~= nil then
    meta.latent = core.json.encode(latent)
  end
  return core.save(path, net:state_dict(), meta)
end

local build

local function arguments(config)
  local list = {}
  for i, value in ipairs(config) do
    list[i] = value ~= core.json.null and value or nil
  end
  return list, #config
end

function build(node, depth)
  if type(node) ~= "table" or type(node.class) ~= "string" or depth > 40 then
    return nil, "the architecture is damaged"
  end
  local class = registry[node.class]
  if not class then
    return nil, "class " .. node.class .. " is unknown: require its file first"
  end
  if class == registry.Sequential then
    local children = {}
    if type(node.children) ~= "table" then
      return nil, "the architecture is damaged: a Sequential without children"
    end
    for i, child in ipairs(node.children) do
      local m, message = build(child, depth + 1)
      if not m then
        return nil, message
      end
      children[i] = m
    end
    return class(children)
  end
  if type(node.config) ~= "table" then
    return nil, "the architecture is damaged: " .. node.class .. " has no config"
  end
  if class.kind then
    return class(node.config)
  end
  local list, n = arguments(node.config)
  return class(table.unpack(list, 1, n))
end

--- nn.load(path): the network and the file's metadata, or nil and a message.
function model_file.load(path)
  local dict, meta = core.load(path)
  if not dict then
    return nil, meta
  end
  if meta.format ~= FORMAT or not meta.architecture then
    return nil, path .. ": weights without architecture: build the network and call net:load_weights(path)"
  end
  local node, message = core.json.decode(meta.architecture, path)
  if node == nil then
    return nil, message
  end
  local init = core.stream_get("init") -- loading draws no random numbers
  local ok, net, why = pcall(build, node, 0)
  core.stream_set("init", init)
  if not ok then
    return nil, path .. ": " .. tostring(net)
  elseif not net then
    return nil, why
  end
  ok, why = pcall(net.load_state_dict, net, dict)
  if not ok then
    return nil, path .. ": " .. tostring(why)
  end
  if meta.latent then
    net.latent = core.json.decode(meta.latent, path)
  end
  return net, meta
end

model_file.is_module = module.is_module

return model_file
