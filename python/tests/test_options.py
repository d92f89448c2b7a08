"""Every option of the program is a keyword, and no keyword is not an option."""

from __future__ import annotations

import re
import subprocess
from typing import Any, Set

import pytest

import bnfold_gpu
from bnfold_gpu.options import FoldOptions, PlanOptions, VerifyOptions, arguments

# What the functions state themselves, and what makes no sense in one.
BESIDE = {
    "fold": {"input", "output", "format", "help", "version", "quiet", "verbose", "dry-run"},
    "plan": {"input", "format", "help", "quiet", "verbose", "explain"},
    "verify": {"original", "folded", "format", "help", "quiet"},
}


def options_of(command: str) -> Set[str]:
    text = subprocess.run([bnfold_gpu.binary(), command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("command, known", [("fold", FoldOptions), ("plan", PlanOptions), ("verify", VerifyOptions)])
def test_every_option_has_a_keyword(command: str, known: Any) -> None:
    found = options_of(command) - BESIDE[command]
    assert found == {name.replace("_", "-") for name in known.__annotations__}


def test_values_are_written_so_that_they_are_read_as_they_are() -> None:
    given = {"eps": 1e-05, "eps_for": {"-x*": 0.1}, "deny": ["kept", "style"], "force": True, "strict": False, "arch": None}
    words = arguments(given, FoldOptions, "fold")
    assert words == ["--eps=1e-05", "--eps-for=-x*=0.1", "--deny=kept", "--deny=style", "--force"]


def test_a_keyword_that_is_no_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'style'"):
        bnfold_gpu.fold("x.safetensors", stile="strip")  # type: ignore[call-arg]
