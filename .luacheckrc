-- Settings of luacheck for every Lua file of the tree; `make lint` runs it.
std = "lua54"
max_line_length = 150
self = false
ignore = { "212" } -- an unused argument often names an interface
files["tests/lua"] = { std = "lua54+busted" }
files["rockspec"] = { std = "rockspec" }
