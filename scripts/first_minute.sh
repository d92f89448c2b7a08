#!/usr/bin/env bash
# The first minute of a new user: what they type, rightly or not, what is printed, and the exit status.
#
#     scripts/first_minute.sh [PROGRAM]
#
# In: the program (default: `bnfold-gpu` on the PATH). Out: a transcript on stdout, the same on every machine but for times and
# for the graphics adapters; tests/it/first_minute.rs compares it with tests/it/snapshots/. Works in a temporary folder.
set -uo pipefail
program=$(command -v "${1:-bnfold-gpu}") || { echo "error: no program ${1:-bnfold-gpu}" >&2; exit 1; }
program=$(realpath "$program")
data=$(realpath "$(dirname "$0")/../tests/data")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place" || exit 1

bnfold-gpu() { "$program" "$@"; }

# Prints a command line, what it prints, and how it ends.
try() {
    printf '$ %s\n' "$1"
    (eval "$1") 2>&1 </dev/null
    printf '[exit status %s]\n\n' "$?"
}

model() { mkdir -p "$(dirname "$1")" && cp "$data/digits-resnet.safetensors" "$1"; }

model resnet.safetensors
try 'bnfold-gpu'
try 'bnfold-gpu resnet.safetensors'
try 'bnfold-gpu resnet.safetensors'
try 'bnfold-gpu fold resnet.safetensors --force --eps 1e-5'
try 'bnfold-gpu plan resnet.safetensors --eps 1e-5'
try 'bnfold-gpu verify resnet.safetensors resnet.folded.safetensors --eps 1e-5'
try 'bnfold-gpu verify resnet.safetensors resnet.safetensors --strict'
try 'bnfold-gpu resnet.safetensor'
try 'bnfold-gpu plam resnet.safetensors'
try 'bnfold-gpu resnet.safetensors -o folded'
try 'bnfold-gpu resnet.safetensors -o out.bin'
try 'bnfold-gpu resnet.safetensors -o folded/ --eps 1e-5'
try 'bnfold-gpu resnet.safetensors -o - --eps 1e-5 | cmp - folded/resnet.safetensors && echo the same bytes'
try 'bnfold-gpu *.safetensors -o all --eps 1e-5'
try 'bnfold-gpu resnet.safetensors --strict --force'
try 'bnfold-gpu resnet.safetensors --eps 1e5 --force'
try 'bnfold-gpu resnet.safetensors --deny typo'

try 'bnfold-gpu info resnet.folded.safetensors'
try 'bnfold-gpu resnet.safetensors --arch timm/tf_eficientnet_b0 --force'
try 'bnfold-gpu resnet.safetensors --arch timm/tf_efficientnet_b0 --force'
try 'bnfold-gpu archs "torchvision/resnet5*"'

model zoo/a/model.safetensors
model zoo/b/model.safetensors
try 'bnfold-gpu zoo'
try 'bnfold-gpu zoo -o out --eps 1e-5'
try 'bnfold-gpu zoo -o out --eps 1e-5'
try 'bnfold-gpu plan zoo --format json --eps 1e-5 > plans.json; mv zoo moved; bnfold-gpu moved -o again --plan plans.json'

mkdir torch && printf 'PK\003\004' > torch/pytorch_model.bin
try 'bnfold-gpu torch -o out'
try 'bnfold-gpu torch/pytorch_model.bin'
printf '\010\007\022\007pytorch' > net.onnx
try 'bnfold-gpu net.onnx'

model hub/model.safetensors
echo '{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}' > hub/config.json
try 'bnfold-gpu hub/model.safetensors -o hub/folded.safetensors'
try 'bnfold-gpu hub/model.safetensors -o strip/ --style strip --copy-sidecars'
