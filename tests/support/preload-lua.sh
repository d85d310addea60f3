#!/bin/sh
# preload-lua.sh WRAPPER LUA LIBRARY: writes WRAPPER, an interpreter that loads LIBRARY (a sanitizer's runtime) first.
# The runtime must come before everything else in the process, and lua5.4 itself is not built with it.
set -eu
printf '#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' "$3" "$(command -v "$2")" >"$1"
chmod +x "$1"
