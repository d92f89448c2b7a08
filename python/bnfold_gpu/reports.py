"""Reports as objects: what the program prints with `--format json`.

Stage:  after every call.
In:     JSON objects; docs/formats.md has every key. Out: frozen dataclasses of the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple, Union

from ._json import decode
from .errors import UnexpectedAnswer


@dataclass(frozen=True)
class Counts:
    """Numbers of norms."""

    folded: int
    kept: int


@dataclass(frozen=True)
class KeptNorm:
    """A norm that stayed, and why; `template` is its path with the numbers around it replaced by `#`."""

    norm: str
    template: str
    code: str
    reason: str


@dataclass(frozen=True)
class Channels:
    """Channels of one kind: how many, and the numbers of the first 32."""

    count: int
    first: Tuple[int, ...]


@dataclass(frozen=True)
class Histogram:
    """Counts of channels by log10 of their scale in tenths of a decade; bin `b` begins at `10**(b/10)`."""

    first: int
    counts: Tuple[int, ...]


@dataclass(frozen=True)
class Scales:
    """Magnitudes of what the channels of one norm were multiplied by."""

    min: float
    median: float
    max: float
    histogram: Histogram


@dataclass(frozen=True)
class FoldedNorm:
    """A norm that was folded, in figures."""

    norm: str
    weight: str
    op: str
    dtype: str
    channels: int
    eps: float
    eps_source: str
    scales: Scales
    dead: Channels
    large: Channels
    largest_shift: Optional[float]
    weights: Optional[Mapping[str, Any]] = None
    sqnr_db: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Lint:
    """A numerical remark about one norm."""

    layer: str
    kind: str
    value: Optional[float]
    channels: Channels
    message: str


@dataclass(frozen=True)
class Checked:
    """What was compared before the result got its name."""

    elements: int
    differ: int
    worst_ulp: Optional[float]
    worst_shift_ulp: Optional[float]


@dataclass(frozen=True)
class Report:
    """A model that was folded. Sizes are in bytes, `seconds` by stage."""

    input: str
    output: str
    device: str
    adapter: Optional[str]
    elements: int
    elements_on_gpu: int
    style: str
    layers: Counts
    kept: Tuple[KeptNorm, ...]
    folded: Tuple[FoldedNorm, ...]
    sqnr_db: Optional[Mapping[str, Any]]
    lints: Tuple[Lint, ...]
    bytes_in: int
    bytes_out: int
    seconds: Mapping[str, Optional[float]]
    verification: Optional[Checked]
    warnings: Tuple[str, ...]
    warning_codes: Tuple[str, ...]
    notes: Tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """A model that was passed over, since its result is there; `earlier` are the figures of that result."""

    input: str
    output: str
    reason: str
    earlier: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Failed:
    """A model that failed, and why; it has no result. `transient`: the same may succeed by itself later."""

    input: str
    error: str
    transient: bool = False


Outcome = Union[Report, Skipped, Failed]


@dataclass(frozen=True)
class Zoo:
    """What became of several models, in the order of their names."""

    outcomes: Tuple[Outcome, ...]

    @property
    def folded(self) -> Tuple[Report, ...]:
        """The models that were folded in this run."""
        return tuple(one for one in self.outcomes if isinstance(one, Report))

    @property
    def skipped(self) -> Tuple[Skipped, ...]:
        """The models that were there already."""
        return tuple(one for one in self.outcomes if isinstance(one, Skipped))

    @property
    def failed(self) -> Tuple[Failed, ...]:
        """The models that failed."""
        return tuple(one for one in self.outcomes if isinstance(one, Failed))


@dataclass(frozen=True)
class Verification:
    """What `verify` found. Errors are in ulp, those of shifts in ulp of the larger addend."""

    ok: bool
    folded: int
    left: int
    failed: int
    elements: int
    worst_ulp: Optional[float]
    worst_shift_ulp: Optional[float]
    same: int
    problems: Tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """An architecture that `arch=` takes; `parts` are the norms with an eps of their own."""

    name: str
    eps: Optional[float]
    norms: Optional[int]
    source: str
    parts: Tuple[Mapping[str, Any], ...] = ()


def outcome(entry: Mapping[str, Any]) -> Outcome:
    """What became of one model; UnexpectedAnswer if the object does not say."""
    kinds = {"folded": Report, "skipped": Skipped, "failed": Failed}
    kind = kinds.get(str(entry.get("status")))
    if kind is None:
        raise UnexpectedAnswer(f"a report has the status {entry.get('status')!r}, and {', '.join(kinds)} are known")
    made: Outcome = decode(kind, entry)
    return made
