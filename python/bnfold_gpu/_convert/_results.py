"""What became of files that were converted.

Stage:  after a conversion.
Out:    :class:`Converted` for a file, :class:`Conversions` for a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple, Union

from ..reports import Failed


@dataclass(frozen=True)
class Converted:
    """A file that was converted.

    `kind` says what it was, `key` which of its entries was taken, `aliases` which names (the keys) stand for tensors that are
    stored under another one (the values), `left_out` what it holds besides, which did not go into the result. `unnamed` are
    variables of norms that kept their numbers, since the file does not tell them apart: these norms will not be folded.
    """

    input: str
    output: str
    kind: str
    tensors: int
    key: Optional[str]
    aliases: Mapping[str, str]
    left_out: Tuple[str, ...]
    unnamed: Tuple[str, ...] = ()

    def __str__(self) -> str:
        entry = f" (its entry {self.key})" if self.key else ""
        more = f", names of tied tensors: {len(self.aliases)}" if self.aliases else ""
        rest = f"; left out: {listed(self.left_out)}" if self.left_out else ""
        numbers = f"; norms whose variables have no names: {listed(self.unnamed)}" if self.unnamed else ""
        return f"{self.input} -> {self.output}: {self.kind}{entry}, {self.tensors} tensors{more}{rest}{numbers}"


@dataclass(frozen=True)
class Conversions:
    """What became of the files of a folder, in the order of their names."""

    outcomes: Tuple[Union[Converted, Failed], ...]

    @property
    def converted(self) -> Tuple[Converted, ...]:
        """The files that were converted."""
        return tuple(one for one in self.outcomes if isinstance(one, Converted))

    @property
    def failed(self) -> Tuple[Failed, ...]:
        """The files that were not, with the reason."""
        return tuple(one for one in self.outcomes if isinstance(one, Failed))

    def __str__(self) -> str:
        return f"{len(self.converted)} converted, {len(self.failed)} failed"


def listed(names: Tuple[str, ...], shown: int = 5) -> str:
    """The first names, and how many there are besides."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
