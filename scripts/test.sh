#!/usr/bin/env bash
# Runs every test: unit, property, snapshot, integration and doc tests, on the CPU path and on the GPU path.
#
# In: a checkout on a Debian-like machine with Rust. Out: exit status 0 if everything passed. What the tests need and the
# machine lacks is installed first: a software Vulkan driver (GPU tests are never skipped), Vulkan's headers (a test builds a
# layer), Chromium (it opens the HTML report, and brings a validation layer and SwiftShader, a second driver), strace (it
# kills programs and answers their calls with errors) and Python with pip (two real checkpoints are fetched and converted; an
# S3 server for tests is installed into target/).
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install() {
    if ! command -v apt-get >/dev/null; then
        echo "error: $1 is missing and there is no apt-get; install it and run this script again" >&2
        exit 1
    fi
    echo "installing $1"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

has_vulkan() {
    ldconfig -p | grep -q 'libvulkan\.so\.1' &&
        { [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] ||
            compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
            compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null; }
}

has_vulkan || install mesa-vulkan-drivers
command -v chromium >/dev/null || install chromium
[ -e /usr/include/vulkan/vk_layer.h ] || install libvulkan-dev
command -v strace >/dev/null || install strace
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || install python3 python3-pip

# A layer of Mesa prints an error to stderr where this is unset, as on build machines.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

python3 scripts/fetch_models.py --out target/models
# One build for all tests of the default features, the object stores and the Hugging Face Hub: other features would build most
# dependencies anew. Servers that speak as stores and the Hub do run on this machine.
python3 scripts/s3_server.py --packages target/moto --install-only
cargo test --locked --features cloud,hub
# Everything that folds on a GPU once more on another driver, which flushes subnormals as many cards do.
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json
[ -e "$swiftshader" ] || { echo "error: $swiftshader is missing; Debian's chromium has it" >&2; exit 1; }
VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader cargo test --locked --features cloud,hub --test it -- \
    bench devices device_loss digits exact faults kernels pieces several_models vulkan zoo
# Kills and errors at calls of every kind, and runs at the same time; --full and more --trials take longer.
python3 scripts/inject.py --bin target/debug/bnfold-gpu
python3 scripts/at_once.py --bin target/debug/bnfold-gpu --trials 5
# The pure CPU tool: without the graphics library, the stores and the Hub, and with all tests that need none.
cargo test --locked --no-default-features --features cli
