#!/bin/sh
# Sees every rule of lint.sh fail once: a small clean tree must pass, and each seeded violation must be reported.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0

plant() { # a fresh clean tree
    rm -rf "$tmp/t"
    mkdir -p "$tmp/t/include" "$tmp/t/lua/forger" "$tmp/t/bin" "$tmp/t/tests/c" "$tmp/t/tests/lua" "$tmp/t/examples"
    cp "$root/.clang-format" "$root/.luacheckrc" "$tmp/t/"
    echo 'all:' >"$tmp/t/Makefile"
    for room in base kernels tensor autograd ops layers optim io binding; do
        mkdir -p "$tmp/t/src/$room"
        echo "int fg_$room(void);" >"$tmp/t/src/$room/$room.h"
        printf '/* malloc( and printf( in prose are fine */\n#include "%s.h"\nint fg_%s(void) { return 0; }\n' $room $room \
            >"$tmp/t/src/$room/${room}_a.c"
    done
    echo 'return { text = "pairs", __pairs = 1 } -- no bare pairs( here' >"$tmp/t/lua/forger/init.lua"
    echo 'print "hello"' >"$tmp/t/examples/hello.lua"
    echo 'describe("x", function() end)' >"$tmp/t/tests/lua/x_spec.lua"
}

seed() { # seed RULE FILE TEXT: appends TEXT to FILE of a clean tree; lint must fail and name RULE
    plant
    printf '%b\n' "$3" >>"$tmp/t/$2"
    count=$((count + 1))
    if sh "$here/lint.sh" "$tmp/t" >"$tmp/out" 2>&1; then
        echo "lint-selftest: $1 is not noticed in $2: $3"
        exit 1
    elif ! grep -q -- "$1" "$tmp/out"; then
        echo "lint-selftest: expected '$1' for $2: $3, got:"
        cat "$tmp/out"
        exit 1
    fi
}

plant
if ! sh "$here/lint.sh" "$tmp/t" >"$tmp/out" 2>&1; then
    echo "lint-selftest: the clean tree does not pass:"
    cat "$tmp/out"
    exit 1
fi

lower=base # each room looks one step up the arrows
for upper in kernels tensor autograd ops layers io binding; do
    seed "arrows: src/$lower may not include $upper.h" "src/$lower/${lower}_a.c" "#include \"$upper.h\""
    lower=$upper
done
seed 'arrows: src/layers may not include optim.h' src/layers/layers_a.c '#include "optim.h"'
seed 'arrows: src/optim may not include layers.h' src/optim/optim_a.c '#include "layers.h"'
seed 'arrows: src/optim may not include io.h' src/optim/optim.h '#include "io.h"'
seed 'arrows: "gone.h" is no file' src/ops/ops_a.c '#include "gone.h"'
seed 'private-header: lua.h' src/io/io_a.c '#include <lua.h>'
seed 'private-header: lauxlib.h' src/base/base_a.c '#include <lauxlib.h>'
seed 'private-header: immintrin.h' src/ops/ops_a.c '#include <immintrin.h>'
seed 'private-header: arm_neon.h' src/tensor/tensor.h '#include <arm_neon.h>'
seed 'heap: malloc' src/tensor/tensor_a.c 'void *fg_x(void) { return malloc(1); }'
seed 'heap: calloc' src/io/io_a.c 'void *fg_x(void) { return calloc(1, 2); }'
seed 'heap: realloc' src/binding/binding_a.c 'void *fg_x(void *p) { return realloc (p, 2); }'
seed 'heap: free' src/kernels/kernels_a.c 'void fg_x(void *p) { free(p); }'
seed 'process: abort' src/base/base_a.c 'void fg_x(void) { abort(); }'
seed 'process: printf' src/ops/ops_a.c 'void fg_x(void) { printf("x"); }'
seed 'W111' lua/forger/a.lua 'leak = 1'
seed 'W113' tests/lua/a_spec.lua 'print(undefined_name)'
seed 'W111' examples/a.lua 'leak = 1'
seed 'pairs: ' lua/forger/a.lua 'for _ in pairs({}) do print(1) end'
seed 'pairs: ' lua/forger/a.lua 'local each = pairs\nreturn each'
seed 'random: ' lua/forger/a.lua 'return math.random(3)'
seed 'lua51: ' examples/a.lua 'print(7 // 2)'
seed 'format: run make fmt' src/base/base_b.c 'int  fg_x( void ){return 0 ;}'
seed 'unique-name: ' src/ops/base_a.c 'int fg_y(void);'
seed 'file-size: 601 lines' lua/forger/a.lua "$(i=0; while [ $i -lt 601 ]; do printf -- '-- x\\n'; i=$((i + 1)); done)return 1\\c"
seed 'file-size: stays under 300' Makefile "$(i=0; while [ $i -lt 300 ]; do printf '#\\n'; i=$((i + 1)); done)"
seed 'rooms: ' src/attic.c ''
echo "lint-selftest: $count seeded violations were noticed"
