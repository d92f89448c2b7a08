"""What the tests share: the program under test, and a small trained network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / "tests" / "data" / "digits-resnet.safetensors"

# Keras' backend is chosen once in a process: the tests of TensorFlow take another one, `KERAS_BACKEND=tensorflow pytest`.
collect_ignore = [] if os.environ.get("KERAS_BACKEND") == "tensorflow" else ["test_tf.py"]


@pytest.fixture(scope="session", autouse=True)
def _program() -> None:
    """Without $BNFOLD_GPU the program of this checkout is tested; a test that has none must not pass."""
    if "BNFOLD_GPU" not in os.environ:
        built = ROOT / "target" / "release" / "bnfold-gpu"
        assert built.is_file(), f"{built} is missing: cargo build --release, or set BNFOLD_GPU"
        os.environ["BNFOLD_GPU"] = str(built)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of the trained network, alone in its folder."""
    return Path(shutil.copy(DIGITS, tmp_path / "digits.safetensors"))
