"""Finding the program: what is named is meant, and another version is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import bnfold_gpu
from bnfold_gpu import BinaryNotFound, BinaryVersion, _binary

from .conftest import ROOT


def script(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def test_the_package_has_the_crates_version() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'\nversion = "{bnfold_gpu.__version__}"\n' in manifest


def test_a_named_program_that_is_missing_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNFOLD_GPU", "/nowhere/bnfold-gpu")
    with pytest.raises(BinaryNotFound, match="BNFOLD_GPU=/nowhere/bnfold-gpu, which is no file"):
        bnfold_gpu.binary()


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BNFOLD_GPU", str(script(tmp_path / "other", "bnfold-gpu 99.0.0")))
    with pytest.raises(BinaryVersion, match=r"'bnfold-gpu 99.0.0', and this package needs 'bnfold-gpu [0-9.]+'.*pip install"):
        bnfold_gpu.plan("x.safetensors")


def test_a_program_that_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    monkeypatch.setenv("BNFOLD_GPU", str(tmp_path / "text"))
    with pytest.raises(BinaryVersion, match="does not run"):
        bnfold_gpu.binary()


def test_the_wheels_program_goes_before_that_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = f"bnfold-gpu {bnfold_gpu.__version__}"
    for folder in ("wheel", "path"):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder / _binary.NAME, says)
    monkeypatch.delenv("BNFOLD_GPU")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(_binary, "_script_folders", lambda: [("the scripts", str(tmp_path / "wheel"))])
    assert bnfold_gpu.binary() == str(tmp_path / "wheel" / _binary.NAME)
    monkeypatch.setattr(_binary, "_script_folders", lambda: [("the scripts", str(tmp_path / "none"))])
    assert bnfold_gpu.binary() == str(tmp_path / "path" / _binary.NAME)


def test_without_any_program_the_error_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BNFOLD_GPU")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_binary, "_script_folders", lambda: [("the scripts", "/no/scripts")])
    with pytest.raises(BinaryNotFound, match="the scripts /no/scripts; PATH. Install the wheel"):
        bnfold_gpu.binary()
