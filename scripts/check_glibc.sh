#!/usr/bin/env bash
# Checks that a program starts on systems as old as a release promises.
#
#   scripts/check_glibc.sh PROGRAM [VERSION]
#
# Stage: after the release build for Linux (.github/workflows/release.yml).
# In:    PROGRAM; VERSION, the oldest glibc that it is to start with (2.17), or nothing for a program that needs no libraries
# Out:   a line that says what the program asks for. Exit status 0 if that is no more than promised, else 1, 2 for wrong
#        usage. Needs objdump (binutils).
set -euo pipefail

[ $# -ge 1 ] && [ -f "$1" ] || { echo "usage: ${0##*/} PROGRAM [VERSION]" >&2; exit 2; }
program=$1 promised=${2-}
promised=${promised#.}

headers=$(objdump --private-headers "$program")
if [ -z "$promised" ]; then
    if grep --quiet 'NEEDED' <<< "$headers"; then
        echo "error: $program should be static, but loads$(sed -n 's/^ *NEEDED */ /p' <<< "$headers" | tr -d '\n')" >&2
        exit 1
    fi
    echo "$program: static"
    exit 0
fi

# Versions of symbols that were taken from glibc, oldest first.
needed=$(grep --only-matching --extended-regexp 'GLIBC_[0-9.]+' <<< "$headers" | sed 's/GLIBC_//' | sort --version-sort --unique)
[ -n "$needed" ] || { echo "error: $program takes nothing from glibc; for a static program give no version" >&2; exit 1; }
newest=$(tail -n 1 <<< "$needed")
if [ "$(printf '%s\n' "$newest" "$promised" | sort --version-sort | tail -n 1)" != "$promised" ]; then
    echo "error: $program needs glibc $newest, and $promised was promised; its newest symbols:" >&2
    objdump --dynamic-syms "$program" | grep --fixed-strings "GLIBC_$newest" >&2
    exit 1
fi
echo "$program: glibc $newest or newer, $promised promised"
