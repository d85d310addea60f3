#!/bin/sh
# Prints a C file that holds the given Lua files as byte arrays, for hosts that link libforger_lua.a.
# lua/forger/init.lua is module "forger", lua/forger/nn/init.lua "forger.nn", lua/forger/optim.lua "forger.optim".
# The table fg_lua_files[] ends with a NULL module; src/binding/embed*.c reads it. Only od and sed are needed.
set -eu
echo '/* Generated from lua/forger by tests/support/embed-lua.sh. */'
echo '#include "embed.h"'
n=0
rows=
for file in "$@"; do
    module=$(echo "${file#lua/}" | sed -e 's/\.lua$//' -e 's|/init$||' -e 's|/|.|g')
    echo "static const unsigned char text_$n[] = {"
    od -An -v -tu1 "$file" | sed -e 's/[0-9][0-9]*/&,/g'
    echo '0 };'
    rows="$rows    { \"$module\", \"$file\", text_$n, sizeof text_$n - 1 },
"
    n=$((n + 1))
done
printf 'const struct fg_lua_file fg_lua_files[] = {\n%s    { NULL, NULL, NULL, 0 },\n};\n' "$rows"
