"""Progress over several models.

Stage:  while a zoo is folded.
In:     outcomes, one by one. Out: a bar on stderr where tqdm is installed, else nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Optional, Type

from .reports import Failed, Outcome


class Progress:
    """A bar that counts models. How many there will be only the program knows, so there is no total."""

    def __init__(self, wanted: bool) -> None:
        self._bar: Any = _bar() if wanted else None
        self._failed = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Any, trace: Optional[TracebackType]) -> None:
        if self._bar is not None:
            self._bar.close()

    def see(self, outcome: Outcome) -> None:
        """Counts one model."""
        self._failed += isinstance(outcome, Failed)
        if self._bar is not None:
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update(1)


def _bar() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(desc="folding", unit=" models")
