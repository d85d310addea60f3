-- Whole training steps (step.lua describes the works), on one thread and on as many as the process may use, in alternation:
-- medians over three rounds, the gain by threads, and the resident memory. Words on the command line choose works.
local fg = require "forger"
local here = arg[0]:match("^(.*/)[^/]*$") or "./"
local median = dofile(here .. "peers_table.lua").median
local lua = arg[-1]

local WORKS = { "demo", "book", "dcgan64", "wgangp", "mlp", "toy", "tiny", "sample1", "sample64" }
local ROUNDS, SECONDS = 3, 1.5
local works = #arg > 0 and table.move(arg, 1, #arg, 1, {}) or WORKS
local many = fg.get_threads()

local function measure(work, mode, threads)
  local pipe = assert(io.popen(("'%s' '%sstep.lua' --work %s --mode %s --threads %d --seconds %g"):format(lua, here, work, mode, threads, SECONDS)))
  local out = pipe:read "a"
  if not pipe:close() then
    os.exit(1)
  end
  return fg.json.decode(out)
end

print(("%s, ms per step\n%-9s %-5s %12s %12s %6s %6s"):format(fg.isa(), "work", "", "1 thread", many .. " threads", "gain", "MB"))
for _, work in ipairs(works) do
  for _, mode in ipairs { "f32", "bf16" } do
    local one, all, memory = {}, {}, 0
    for _ = 1, ROUNDS do
      one[#one + 1] = measure(work, mode, 1).ms
      local r = measure(work, mode, many)
      all[#all + 1] = r.ms
      memory = math.max(memory, r.rss_mb)
    end
    print(("%-9s %-5s %12.3f %12.3f %6.2f %6d"):format(work, mode, median(one), median(all), median(one) / median(all), memory))
    io.stdout:flush()
  end
end
