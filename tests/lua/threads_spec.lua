-- The number of threads changes no bit: every work of the benchmarks, in both precisions, trained for two steps by 1, 2, 3, 4
-- and 8 threads. The batches are those of the benchmarks, since chunks are cut by size; smaller under a sanitizer, which takes
-- ten times as long.
local core = require "forger.core"

local WORKS = { "demo", "book", "dcgan64", "wgangp", "mlp", "toy", "tiny", "sample1", "sample64" }

local LESS = os.getenv "ASAN_OPTIONS" and " --batch 6" or ""

describe("two steps of", function()
  for _, work in ipairs(WORKS) do
    for _, mode in ipairs { "f32", "bf16" } do
      it(work .. " in " .. mode .. " end with the same parameters for any number of threads", function()
        local path, first = os.tmpname(), nil
        finally(function()
          os.remove(path)
        end)
        for _, threads in ipairs { 1, 2, 3, 4, 8 } do
          local options = ("--work %s --mode %s --threads %d --save %s%s"):format(work, mode, threads, path, LESS)
          local ok = os.execute("lua5.4 tests/bench/step.lua " .. options)
          assert.is_true(ok)
          local bytes = assert(core.read_file(path))
          first = first or bytes
          assert.is_true(first == bytes, threads .. " threads differ from one")
        end
      end)
    end
  end
end)
