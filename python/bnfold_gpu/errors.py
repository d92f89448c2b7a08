"""Everything that can go wrong, as types.

Stage:  ground; raised everywhere.
Out:    exceptions below :class:`BnfoldError`. Where the program said what was wrong, the message is the program's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence

if TYPE_CHECKING:
    from ._convert import Conversions
    from .reports import Zoo


class BnfoldError(Exception):
    """The base of all errors of this package."""


class BnfoldWarning(UserWarning):
    """What should be known of a result although it is there; `code` is one of docs/formats.md, or `unnamed-variables` (docs/python.md)."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class BinaryNotFound(BnfoldError):
    """The program `bnfold-gpu` is nowhere to be found."""

    def __init__(self, searched: Sequence[str]) -> None:
        super().__init__(
            "the program bnfold-gpu was not found; looked at: "
            + "; ".join(searched)
            + ". Install the wheel (pip install bnfold-gpu) or name the program in the environment variable BNFOLD_GPU"
        )


class BinaryVersion(BnfoldError):
    """The program that was found is of another version than this package."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(
            f"{path} says it is {found!r}, and this package needs 'bnfold-gpu {expected}'; "
            f"install both from the same release (pip install bnfold-gpu=={expected}), or name another program in BNFOLD_GPU"
        )
        self.expected, self.found = expected, found


class ProgramError(BnfoldError):
    """The program ran and failed. `status` is its exit status, negative for a signal, `stderr` all that it said."""

    def __init__(self, message: str, status: int, stderr: str) -> None:
        super().__init__(message)
        self.status, self.stderr = status, stderr


class UsageError(ProgramError):
    """Exit status 2: options that contradict each other, an unknown architecture, an output that exists."""


class ModelFailed(ProgramError):
    """Exit status 1: a model could not be read, planned, folded or checked. Its output was not written."""


class Interrupted(ProgramError):
    """Exit status 130: the program was asked to stop."""


class DeviceOrDriverCrash(ProgramError):
    """The program died of a signal, as when a graphics driver crashes or memory runs out. Folding again may succeed."""


class ZooFailed(ProgramError):
    """Some models of several failed; `zoo` holds what became of each."""

    def __init__(self, message: str, status: int, stderr: str, zoo: Zoo) -> None:
        super().__init__(message, status, stderr)
        self.zoo = zoo


class UnexpectedAnswer(BnfoldError):
    """The program printed something that this package does not understand."""


class PlanError(BnfoldError):
    """A plan that is no plan, or an edit that does not fit it."""


class MissingLibrary(BnfoldError, ImportError):
    """A part of the package was used without the library that it needs."""

    def __init__(self, library: str, purpose: str, extra: Optional[str] = None) -> None:
        extra = extra or library
        super().__init__(f"{purpose} needs {library}: pip install {library} (or pip install 'bnfold-gpu[{extra}]')")


class TraceError(BnfoldError):
    """A model or graph that cannot be followed."""


class LoadError(BnfoldError):
    """A folded file that does not fit the model. The model is as it was."""


class CheckFailed(BnfoldError):
    """The folded model computes something else than the original."""


class ConvertError(BnfoldError):
    """A file that cannot be converted. Nothing was written."""


class SeveralStateDicts(ConvertError):
    """A file holds several sets of weights, or none where it is looked for; `keys` are what `key=` takes."""

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class UnsafeFile(ConvertError):
    """Reading a file would run code that it brings along; `found` names the objects that need it."""

    def __init__(self, message: str, found: Sequence[str]) -> None:
        super().__init__(message)
        self.found = tuple(found)


class ConvertFailed(ConvertError):
    """Some files of a folder could not be converted; `conversions` holds what became of each."""

    def __init__(self, message: str, conversions: Conversions) -> None:
        super().__init__(message)
        self.conversions = conversions
