"""JSON objects into dataclasses.

Stage:  after every call.
In:     what `json.loads` gives, and a frozen dataclass whose fields are the keys that are expected.
Out:    an instance, or :class:`UnexpectedAnswer` that names the key. Keys beyond the fields are passed over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as AnyMapping
from functools import lru_cache
from typing import Any, Dict, Mapping, Union, get_args, get_origin, get_type_hints

from .errors import UnexpectedAnswer


def decode(kind: Any, value: Any, where: str = "") -> Any:
    """`value` as an instance of `kind`."""
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Union:
        return None if value is None else decode(inner[0], value, where)
    if origin is tuple:
        _expect(isinstance(value, list), "an array", value, where)
        return tuple(decode(inner[0], one, f"{where}[{place}]") for place, one in enumerate(value))
    if origin is AnyMapping:
        _expect(isinstance(value, Mapping), "an object", value, where)
        return dict(value)
    if kind is float:
        _expect(isinstance(value, (int, float)) and not isinstance(value, bool), "a number", value, where)
        return float(value)
    _expect(type(value) is kind, f"a {kind.__name__}", value, where)
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, Mapping), "an object", value, where)
    fields: Dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        place = f"{where}.{field.name}" if where else field.name
        if field.name in value:
            fields[field.name] = decode(_hints(kind)[field.name], value[field.name], place)
        elif field.default is dataclasses.MISSING:
            raise UnexpectedAnswer(f"the program's answer has no `{place}`; keys are {', '.join(value)}")
    return kind(**fields)


@lru_cache(maxsize=None)
def _hints(kind: Any) -> Dict[str, Any]:
    return get_type_hints(kind)


def _expect(holds: bool, expected: str, value: Any, where: str) -> None:
    if not holds:
        raise UnexpectedAnswer(f"`{where}`: expected {expected}, found {str(value)[:80]!r}")
