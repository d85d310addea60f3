#!/bin/sh
# find-headers.sh "COMPILER FLAGS" HEADER...: asks the compiler for each header, before a build that would stop at the first one
# missing with the compiler's own words. Says what is missing and what installs it; the exit status is then 1.
set -eu
cc=$1
shift
compiler=${cc%% *}
if ! command -v "$compiler" >/dev/null 2>&1; then
    echo "make: no compiler: $compiler is not there; 'make deps' installs what is needed on Debian, CC says which" >&2
    exit 1
fi
for header in "$@"; do
    # shellcheck disable=SC2086 # a command with its arguments
    if ! echo "#include <$header>" | $cc -E -x c - >/dev/null 2>&1; then
        echo "make: the compiler ($compiler) finds no $header: 'make deps' installs it on Debian; elsewhere" \
            "LUA_INCDIR, PNG_INCDIR and ZLIB_INCDIR say where it is" >&2
        exit 1
    fi
done
