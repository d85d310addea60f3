--- For busted (--helper): whatever the tests put at a name from os.tmpname, or at that name with an ending, is gone when they end.
--- They make files, folders, and whole runs there, some thousand of them, and a test that fails cannot clean up.
local busted = require "busted"
local tmpname, made = os.tmpname, {}

function os.tmpname() -- luacheck: ignore 122
  local name = tmpname()
  made[#made + 1] = name
  return name
end

busted.subscribe({ "suite", "end" }, function()
  for _, name in ipairs(made) do
    os.execute(string.format("rm -rf -- %s %s.*", name, name))
  end
  return nil, true -- go on to the next listener
end)
