#!/usr/bin/env bash
# Tests the Python package: types, the pure tests, and those with real libraries.
#
#   scripts/test_python.sh            types, tests, the journeys of examples/python/
#   scripts/test_python.sh --full     also TensorFlow and ultralytics, and the round trips of scripts/check_python.py, check_onnx.py and check_keras.py,
#                                     about three hours on two cores
#   scripts/test_python.sh --wheel    only: builds the wheel, installs it into a clean environment, folds with it
#
# In: a checkout with Python 3.10 or newer and Rust; $BNFOLD_GPU names a built program, else target/release/bnfold-gpu is
# built. PIP_EXTRA_INDEX_URL may name an index with PyTorch for the CPU. Out: exit status 0 if everything passed. The
# environments lie under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's Python makes no environments by itself.
if ! "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then sudo() { "$@"; }; fi
    sudo apt-get update -qq
    sudo apt-get install -y -qq python3 python3-pip python3-venv >/dev/null
fi

environment=target/python-tests
PYTHON="${PYTHON:-python3}"

wheel() {
    rm -rf target/wheels target/python-clean
    "$PYTHON" -m pip wheel . --no-deps --wheel-dir target/wheels
    ls target/wheels/bnfold_gpu-*-py3-none-*.whl
    "$PYTHON" -m venv target/python-clean
    target/python-clean/bin/pip install --quiet target/wheels/*.whl
    env -u BNFOLD_GPU -u PYTHONPATH target/python-clean/bin/python -W ignore -I - <<'PYTHON_END'
import bnfold_gpu, sys, tempfile
assert bnfold_gpu.binary().startswith(sys.prefix), bnfold_gpu.binary()
with tempfile.TemporaryDirectory() as folder:
    report = bnfold_gpu.fold("tests/data/digits-resnet.safetensors", f"{folder}/folded.safetensors")
assert report.layers.folded == 12, report
print("the wheel folds")
PYTHON_END
}

if [ "${1:-}" = --wheel ]; then
    wheel
    exit
fi

[ -x "$environment/bin/python" ] || "$PYTHON" -m venv "$environment"
packages=(mypy pytest numpy safetensors torch torchvision timm transformers onnx onnxruntime onnxscript keras h5py msgpack ml_dtypes tqdm ray)
# TensorFlow alone takes more than a gigabyte, and ultralytics brings OpenCV.
[ "${1:-}" != --full ] || packages+=(ultralytics segmentation_models_pytorch tensorflow-cpu tf_keras)
# The index has PyTorch for cards only, with gigabytes of libraries for them. pip keeps what it
# downloads until all is installed, in the same place, so that there is one place to look at.
needed=9
free=$(df --output=avail --block-size=1G "$environment" | tail -1 | tr -d ' ')
if [ ! -d "$environment"/lib/python3*/site-packages/torch ] && [ "$free" -lt "$needed" ]; then
    echo "error: the libraries take $needed GB below target/ while they are installed, and $free GB are free" >&2
    exit 1
fi
mkdir -p "$environment/tmp"
TMPDIR="$PWD/$environment/tmp" "$environment/bin/pip" install --quiet --no-cache-dir "${packages[@]}"

if [ -z "${BNFOLD_GPU:-}" ]; then
    cargo build --locked --release
    BNFOLD_GPU="$PWD/target/release/bnfold-gpu"
fi
export BNFOLD_GPU PYTHONPATH="$PWD/python"
# A backend is chosen once in a process.
export KERAS_BACKEND=torch

"$environment/bin/mypy"
# A test that is skipped for want of a library has not passed.
"$environment/bin/python" -m pytest -q -ra | tee target/python-tests.log
if [ "${1:-}" = --full ]; then
    KERAS_BACKEND=tensorflow "$environment/bin/python" -m pytest -q -ra python/tests/test_tf.py | tee -a target/python-tests.log
fi
! grep -q '^SKIPPED' target/python-tests.log || { echo "error: tests were skipped" >&2; exit 1; }
for journey in examples/python/*.py; do
    case "${1:-} $journey" in " "*/tensorflow_journey.py | " "*/ultralytics_journey.py) continue ;; esac
    echo "== $journey"
    "$environment/bin/python" -W ignore "$journey"
done
if [ "${1:-}" = --full ]; then
    "$environment/bin/python" scripts/check_python.py --table
    "$environment/bin/python" scripts/check_onnx.py --table
    "$environment/bin/python" scripts/check_keras.py --table
fi
