#!/bin/sh
# run-tests.sh PROGRAM...: runs the C test programs, then busted over tests/lua; ends with one line "N passed, N failed".
# LUA_PATH and LUA_CPATH must point at the build under test; LUA is the interpreter, BUSTED the test runner.
set -u
passed=0
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

for program in "$@"; do
    echo "== $program"
    "$program" >"$out" 2>&1
    status=$?
    cat "$out"
    # libcheck: "95%: Checks: 20, Failures: 1, Errors: 0", once per runner
    counts=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1 \2 \3/p' "$out" |
        awk '{ n += $1; bad += $2 + $3 } END { print n - bad, bad + 0, NR }')
    set -- $counts
    passed=$((passed + $1))
    failed=$((failed + $2))
    # a crash, a sanitizer's report, or a program that ran nothing is a failure of its own
    if [ "$3" = 0 ] || [ "$1 $2" = "0 0" ] || { [ $status -ne 0 ] && [ "$2" = 0 ]; }; then
        echo "$program: exit status $status without a complete summary"
        failed=$((failed + 1))
    fi
done

if [ -n "$(find tests/lua -name '*_spec.lua' 2>/dev/null)" ]; then
    echo "== busted tests/lua"
    "${BUSTED:-busted}" --lua="$(command -v "${LUA:-lua5.4}")" --output=plainTerminal --helper=tests/support/tmpfiles.lua \
        --pattern=_spec tests/lua >"$out" 2>&1
    status=$?
    cat "$out"
    # busted: "12 successes / 1 failure / 0 errors / 0 pending : 0.1 seconds"
    counts=$(sed -n 's|^\([0-9]*\) success[es]* / \([0-9]*\) failure[s]* / \([0-9]*\) error[s]* / .*|\1 \2 \3|p' "$out" | tail -n 1)
    set -- ${counts:-0 0 0}
    passed=$((passed + $1))
    failed=$((failed + $2 + $3))
    if [ "$1 $2 $3" = "0 0 0" ] || { [ $status -ne 0 ] && [ "$2$3" = 00 ]; }; then
        echo "busted: exit status $status without a complete summary"
        failed=$((failed + 1))
    fi
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
