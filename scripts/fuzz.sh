#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for so many seconds each: scripts/fuzz.sh SECONDS [TARGET...]
# Needs a nightly compiler and cargo-fuzz. What is found stays in fuzz/artifacts/, and the exit code is 1.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- header index plan config fold

failed=()
for target in "$@"; do
    printf '\n== %s for %s s\n' "$target" "$seconds"
    mkdir -p "fuzz/corpus/$target"
    # What was found before comes first, then the seeds: the hostile files of tests/it/hostile.
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 ||
        failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
