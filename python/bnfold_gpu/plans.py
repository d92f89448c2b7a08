"""Plans as objects: what is to be done with every norm of one checkpoint.

Stage:  between `plan` and `fold(plan=...)`.
In:     what `bnfold-gpu plan --format json` prints, or what a tracer found.
Out:    a :class:`Plan`, immutable; edits give a new one, which `fold`, `verify` and `Plan.save` take. docs/formats.md has
        every key.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from ._json import decode
from .errors import PlanError, UnexpectedAnswer


@dataclass(frozen=True)
class Layer:
    """What is to be done with one norm. With `action="keep"` only `reason` and `reason_code` are set."""

    norm: str
    action: str
    weight: Optional[str] = None
    op: Optional[str] = None
    bias: Optional[str] = None
    bias_exists: Optional[bool] = None
    channels: Optional[int] = None
    groups: Optional[int] = None
    dtype: Optional[str] = None
    eps: Optional[float] = None
    eps_source: Optional[str] = None
    eps_code: Optional[str] = None
    evidence: Tuple[str, ...] = ()
    evidence_codes: Tuple[str, ...] = ()
    reason: Optional[str] = None
    reason_code: Optional[str] = None

    @property
    def is_fold(self) -> bool:
        """Whether the norm is to be folded."""
        return self.action == "fold"

    def to_dict(self) -> Dict[str, Any]:
        """The entry of a plan file: what is set."""
        pairs = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs if value not in (None, ())}

    @staticmethod
    def from_dict(entry: Mapping[str, Any]) -> Layer:
        """The layer of an entry; PlanError if it is none."""
        known = {field.name for field in dataclasses.fields(Layer)}
        unknown = sorted(set(entry) - known)
        if unknown or not isinstance(entry.get("norm"), str) or entry.get("action") not in ("fold", "keep"):
            what = f"unknown keys {', '.join(unknown)}" if unknown else 'needs "norm", and "action": "fold" or "keep"'
            raise PlanError(f"not a layer of a plan: {what}: {json.dumps(dict(entry))[:200]}")
        try:
            layer: Layer = decode(Layer, entry)
        except UnexpectedAnswer as error:
            raise PlanError(f"not a layer of a plan: {error}") from None
        return layer


@dataclass(frozen=True)
class Plan:
    """One :class:`Layer` per norm. `input` is the checkpoint it was made for; it need not be set to follow the plan."""

    layers: Tuple[Layer, ...]
    input: Optional[str] = None
    dialect: Optional[str] = None
    architecture: Optional[str] = None

    @property
    def folds(self) -> Tuple[Layer, ...]:
        """The norms to fold."""
        return tuple(layer for layer in self.layers if layer.is_fold)

    @property
    def kept(self) -> Tuple[Layer, ...]:
        """The norms to keep, with the reason."""
        return tuple(layer for layer in self.layers if not layer.is_fold)

    def __getitem__(self, norm: str) -> Layer:
        """The layer of a norm; KeyError if the plan has none."""
        for layer in self.layers:
            if layer.norm == norm:
                return layer
        raise KeyError(norm)

    def __contains__(self, norm: object) -> bool:
        return any(layer.norm == norm for layer in self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def keep(self, norm: str, reason: str = "stated by hand") -> Plan:
        """A plan in which `norm` stays; PlanError if there is no such norm."""
        return self._with(Layer(norm, "keep", reason=reason))

    def fold(self, norm: str, weight: str, op: Optional[str] = None, **more: Any) -> Plan:
        """A plan in which `norm` is folded into the tensor `weight`; `more` are further keys of :class:`Layer`."""
        return self._with(Layer(norm, "fold", weight=weight, op=op, **more))

    def with_eps(self, norm: str, eps: float) -> Plan:
        """A plan in which the eps of a norm that is folded is `eps`, whatever else says so."""
        return self._with(dataclasses.replace(self[norm], eps=eps, eps_code=None, eps_source=None))

    def _with(self, changed: Layer) -> Plan:
        if changed.norm not in self:
            raise PlanError(f"the plan has no norm {changed.norm!r}; it has {len(self)}, such as {[one.norm for one in self][:3]}")
        layers = tuple(changed if layer.norm == changed.norm else layer for layer in self.layers)
        return dataclasses.replace(self, layers=layers)

    def to_dict(self) -> Dict[str, Any]:
        """The object of a plan file."""
        about = {"version": 1, "input": self.input, "dialect": self.dialect, "architecture": self.architecture}
        stated = {key: value for key, value in about.items() if value is not None}
        return {**stated, "layers": [layer.to_dict() for layer in self.layers]}

    def to_json(self) -> str:
        """The text of a plan file, a line per layer."""
        head = json.dumps({**self.to_dict(), "layers": []}, ensure_ascii=False)[:-2]
        lines = ",\n".join("  " + json.dumps(layer.to_dict(), ensure_ascii=False) for layer in self.layers)
        return f"{head}\n{lines}\n]}}\n"

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes a file for `--plan`."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.to_json())

    @staticmethod
    def from_dict(entry: Mapping[str, Any]) -> Plan:
        """The plan of an object as a plan file holds it; PlanError if it is none."""
        layers = entry.get("layers")
        if entry.get("version") != 1 or not isinstance(layers, list):
            raise PlanError(f'not a plan: "version": 1 and "layers" are expected, found {json.dumps(dict(entry))[:200]}')
        names = [layer.norm for layer in map(Layer.from_dict, layers)]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise PlanError(f"not a plan: norm {twice!r} has several layers")
        about = {key: entry.get(key) for key in ("input", "dialect", "architecture")}
        return Plan(tuple(Layer.from_dict(layer) for layer in layers), **about)

    @staticmethod
    def load(path: Union[str, os.PathLike[str]]) -> Plan:
        """The plan of a file that holds one; PlanError if it does not."""
        plans = plans_of(_read(path))
        if len(plans) != 1:
            raise PlanError(f"{os.fspath(path)} holds {len(plans)} plans, and one is expected")
        return plans[0]


def _read(path: Union[str, os.PathLike[str]]) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def plans_of(text: str) -> List[Plan]:
    """The plans of a text: an object, or an array of them."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise PlanError(f"not a plan: {error}") from None
    entries = data if isinstance(data, list) else [data]
    return [Plan.from_dict(entry if isinstance(entry, dict) else {}) for entry in entries]
