#!/usr/bin/env bash
# Verifies folded checkpoints against their originals: for pre-commit (.pre-commit-hooks.yaml), the GitHub action
# (action.yml), and any other pipeline that can run a command.
#
#   scripts/verify_folded.sh [OPTION... --] FILE...
#
# In:   FILEs, folded or original, in any order; `bnfold-gpu` on PATH.
#         NAME.folded.safetensors  is held against NAME.safetensors beside it
#         NAME.safetensors         with a NAME.folded.safetensors beside it: the same pair
#         any other file           belongs to no pair and is passed over
#       With --folded DIR and --originals DIR every checkpoint below the one folder is held against the one of the same
#       path below the other. A shard stands for the index beside it. A pair that several FILEs name is verified once.
#       With --tracked the FILEs are git's pathspecs and stand for the tracked files that match.
#       All other options are those of `bnfold-gpu verify`: `--arch timm/resnet50 -- FILE...`.
# Out:  on stdout a line a pair, on stderr what is wrong. Exit status 0 if every pair is the same network (also if FILEs
#       hold no pair), 1 if one is not, if an original is missing, or if --tracked finds no pair, 2 for wrong usage.
#
# Runs with the bash 3.2 of macOS: no associative arrays, and `set -u` meets no empty array.
set -euo pipefail

extension=.safetensors
folded='' originals='' tracked='' options=()
seen=$'\n' pairs=0 failed=0

usage() {
    echo "error: $1; usage: ${0##*/} [--tracked] [--folded DIR --originals DIR] [VERIFY OPTION...] -- FILE..." >&2
    exit 2
}

fail() {
    echo "error: $1" >&2
    failed=1
}

# The checkpoint that a file is or is a part of: of a shard, its index.
whole() {
    local index=${1%-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"$extension"}$extension.index.json
    if [ -e "$index" ]; then echo "$index"; else echo "$1"; fi
}

# Verifies ORIGINAL and FOLDED, if no file before named this pair.
verify() {
    local status=0
    case $seen in *$'\n'"$2"$'\n'*) return 0 ;; esac
    seen=$seen$2$'\n'
    pairs=$((pairs + 1))
    if [ ! -e "$1" ]; then
        fail "$2: its original, $1, does not exist; restore it, or name the folders with --folded and --originals"
        return 0
    fi
    bnfold-gpu verify --strict ${options[@]+"${options[@]}"} --original "$1" --folded "$2" || status=$?
    case $status in
    0) ;;
    # The options are wrong, and would be for every pair.
    2) exit 2 ;;
    *) fail "$2: not verified against $1 (exit status $status)" ;;
    esac
}

# Of a checkpoint below one of two folders: its pair, if there is a folded one.
check_below() {
    local name=${1#"$folded"/}
    [ "$name" != "$1" ] || name=${1#"$originals"/}
    if [ "$name" != "$1" ] && [ -e "$folded/$name" ]; then verify "$originals/$name" "$folded/$name"; fi
}

# Of a checkpoint beside its like: its pair, if there is a folded one.
check_beside() {
    local stem=${1%"$extension"}
    stem=${stem%.folded}
    if [ -e "$stem.folded$extension" ]; then verify "$stem$extension" "$stem.folded$extension"; fi
}

check() {
    local file
    file=$(whole "${1#./}")
    case $file in
    *"$extension" | *"$extension".index.json) if [ -n "$folded" ]; then check_below "$file"; else check_beside "$file"; fi ;;
    esac
}

# Without `--` every argument is a file: a plain list of files needs none.
is_option=''
for argument in "$@"; do [ "$argument" != -- ] || is_option=1; done
while [ -n "$is_option" ]; do
    argument=$1
    shift
    case $argument in
    --) is_option='' ;;
    --tracked) tracked=1 ;;
    --folded | --originals)
        [ -d "${1-}" ] || usage "$argument needs a folder that exists, not \`${1-}\`"
        folder=${1#./}
        if [ "$argument" = --folded ]; then folded=${folder%/}; else originals=${folder%/}; fi
        shift
        ;;
    *) options+=("$argument") ;;
    esac
done
[ -n "$folded" ] || [ -z "$originals" ] || usage "--originals needs --folded"
[ -n "$originals" ] || [ -z "$folded" ] || usage "--folded needs --originals"
[ $# -gt 0 ] || usage "no FILE"
case $1 in -*) usage "\`$1\` is an option, and no \`--\` ends the options" ;; esac
command -v bnfold-gpu >/dev/null || usage "bnfold-gpu is not on PATH (docs/install.md says how to install it)"

if [ -n "$tracked" ]; then
    while IFS= read -r -d '' file; do check "$file"; done < <(git ls-files -z -- "$@")
    [ "$pairs" != 0 ] || fail "no tracked file that matches \`$*\` belongs to a pair, so nothing was verified"
else
    for file in "$@"; do check "$file"; done
fi
exit "$failed"
