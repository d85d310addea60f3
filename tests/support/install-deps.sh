#!/bin/sh
# install-deps.sh GROUP...: makes sure that what the groups (build, check, lint) need is there.
# Looks for the files and programs themselves, so that a hand-built Lua counts as well. What is missing is installed
# with apt-get where that is possible (root, or sudo without a password); otherwise the command to run is printed and
# the exit status is 1. Instant when nothing is missing.
set -eu
missing=
need() { case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac; }
prog() { command -v "$1" >/dev/null 2>&1 || need "$2"; }
header() { # header NAME PACKAGE DIRECTORY...: is the header in a usual include directory?
    name=$1 package=$2
    shift 2
    for dir in "$@" /usr/include /usr/local/include /usr/include/*-linux-gnu; do
        if [ -f "$dir/$name" ]; then return 0; fi
    done
    need "$package"
}

for group in "$@"; do
    case $group in
    build)
        prog "${CC:-cc}" gcc
        header stdio.h libc6-dev
        prog "${LUA:-lua5.4}" lua5.4
        header lua.h liblua5.4-dev ${LUA_INCDIR:+"$LUA_INCDIR"} /usr/include/lua5.4
        header png.h libpng-dev ${PNG_INCDIR:+"$PNG_INCDIR"}
        header zlib.h zlib1g-dev ${ZLIB_INCDIR:+"$ZLIB_INCDIR"}
        prog pkg-config pkg-config
        ;;
    check)
        header check.h check
        prog "${BUSTED:-busted}" lua-busted
        ;;
    lint)
        prog luacheck lua-check
        prog luac5.1 lua5.1
        prog gcc gcc
        prog clang clang
        prog clang-format clang-format
        ;;
    *)
        echo "install-deps.sh: unknown group '$group' (build, check, lint)" >&2
        exit 2
        ;;
    esac
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing (names of Debian packages):$missing" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    as=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as="sudo "
else
    echo "some packages are missing; install them and run make again:" >&2
    echo "    sudo $install" >&2
    exit 1
fi
echo "installing what is missing: $as$install"
export DEBIAN_FRONTEND=noninteractive
${as}apt-get update -qq
${as}env DEBIAN_FRONTEND=noninteractive $install
