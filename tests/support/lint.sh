#!/bin/sh
# lint.sh [ROOT]: every rule of the house that can be checked without building. Reports all that it finds, then exits 1.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}" || exit 2
failed=0

"${LUA:-lua5.4}" "$here/lint.lua" || failed=1

lines=$(wc -l <Makefile)
if [ "$lines" -ge 300 ]; then
    echo "Makefile:$lines: file-size: stays under 300 lines"
    failed=1
fi

lua_files=$(find lua tests/lua tests/bench examples bin/forger \( -name '*.lua' -o -path bin/forger \) 2>/dev/null)
if [ -n "$lua_files" ]; then
    luacheck --quiet --no-color --codes --config .luacheckrc $lua_files || failed=1
fi

for file in examples/*.lua; do # on Debian `lua` may be 5.1: a script must get as far as saying so
    [ -e "$file" ] || continue
    luac5.1 -p "$file" || { echo "$file:1: lua51: does not parse under Lua 5.1"; failed=1; }
done

for file in src/*/*.[ch] include/*.h tests/c/*.[ch] tests/bench/*.[ch] examples/*.c; do
    [ -e "$file" ] || continue
    clang-format --dry-run -Werror "$file" >/dev/null 2>&1 || { echo "$file:1: format: run make fmt"; failed=1; }
done

[ $failed = 0 ] && echo "lint: house rules hold"
exit $failed
