"""Follows a model while it runs.

Stage:  the heart of `make_plan`.
In:     a model in evaluation mode, its state names, example inputs. Out: a :class:`Record`.

A dispatch mode sees every operation below modules, functions and scripts, views and operations in place included.
:class:`Labels` say of every element which channel of which layer it is; here is written down who reads it.
"""

from __future__ import annotations

import bisect
import contextlib
import gc
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .._record import Call, Record, Seen
from . import _operations as operations
from ._labels import NOTHING, Labels, channel_labels
from ._names import StateNames, storage_of
from ._operations import Arguments, name_of, tensors_in

# Ways out of PyTorch, behind which nothing can be followed.
_EXITS = ("numpy", "__array__", "tolist", "data_ptr", "__dlpack__", "storage", "untyped_storage", "__cuda_array_interface__")


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what feeds what while it is entered."""

    def __init__(self, names: StateNames) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = Record()
        self._names = names
        self._labels = Labels()
        self._next_label = 0
        self._first_labels: List[int] = []
        # Within a norm that is made of small operations, or while tensors are looked at.
        self._within = 0
        self._steps = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # What is not `aten` here asks for a device or a layout and reads no element; it is no layer either.
        if self._within or operation.namespace == "prim":
            return operation(*args, **kwargs)
        # An operation that is only a name for several others is looked into.
        if operation._can_decompose():
            with self:
                parts = operation.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        with self._looking():
            result = operation(*args, **kwargs)
            with _disable_current_modes(), torch.no_grad():
                self._see(operation, args, kwargs, result)
        return result

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        """While PyTorch and the trace look at tensors themselves, nothing leaves PyTorch."""
        self._within += 1
        try:
            yield
        finally:
            self._within -= 1

    # ---- one operation ----------------------------------------------------------------------------------------------

    def _see(self, operation: Any, args: Sequence[Any], kwargs: Dict[str, Any], result: Any) -> None:
        self._steps += 1
        if self._steps % 64 == 0:
            self._labels.forget_the_dead()
        name = name_of(operation)
        changed = operations.written(operation, args, kwargs)
        inputs = [*tensors_in(args), *tensors_in(kwargs)]
        outputs = tensors_in(result)
        if not changed and self._only_views(inputs, outputs):
            return
        if operations.is_batch_norm(operation) and self._norm(Arguments(operation, args, kwargs), name, outputs):
            return
        if name in operations.SHAPE_ONLY:
            return self._make_new(outputs, name)
        if self._layer(operation, name, args, kwargs, outputs) or self._bias_added(name, args, kwargs, outputs, changed):
            return
        if not changed and name in operations.MOVES and all(operations.is_real_number(one.dtype) for one in outputs):
            return self._move(name, args, kwargs, outputs)
        self._read(inputs, name)
        self._make_new(outputs, name)
        for tensor in changed:
            self._labels.put(tensor, None, name)
            for parameter in self._names.touching(tensor):
                self.record.readers[parameter].append(name)

    def _only_views(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> bool:
        """Whether all that comes out lies in the memory of what went in, which was not written to."""
        memory = {storage_of(tensor) for tensor in inputs}
        # A view of a parameter may lie in the memory of its fake twin.
        named = {name for tensor in inputs for name in self._names.touching(tensor)}
        alike = (storage_of(tensor) in memory or not named.isdisjoint(self._names.touching(tensor)) for tensor in outputs)
        return bool(outputs) and all(alike)

    def _make_new(self, outputs: Sequence[torch.Tensor], name: str) -> None:
        for tensor in outputs:
            self._labels.put(tensor, None, name)

    def _read(self, inputs: Sequence[torch.Tensor], reader: str) -> None:
        """Elements are read by something that is no norm; so are parameters."""
        for tensor in inputs:
            for parameter in self._names.touching(tensor):
                self.record.readers[parameter].append(reader)
            for call in self._calls_in(self._labels.of(tensor)):
                call.reads.append(reader)

    def _move(self, name: str, args: Sequence[Any], kwargs: Dict[str, Any], outputs: Sequence[torch.Tensor]) -> None:
        """The same operation, done to labels."""
        inputs = [*tensors_in(args), *tensors_in(kwargs)]
        for tensor in inputs:
            for parameter in self._names.touching(tensor):
                self.record.readers[parameter].append(name)
        known = [self._labels.of(tensor) for tensor in inputs]
        origins = list(dict.fromkeys(self._labels.origin(tensor) for tensor in inputs))
        origin = origins[0] if len(origins) == 1 else f"{name} of {', '.join(origins[:3])}"
        if all(labels is None for labels in known):
            return self._labels.put(outputs[0], None, origin)
        moved = operations.MOVES[name](*operations.replaced(list(args), self._some_labels), **kwargs)
        if name not in ("aten.clone", "aten._to_copy"):
            origin = name
        self._labels.put(outputs[0], moved, origin)

    def _some_labels(self, tensor: torch.Tensor) -> torch.Tensor:
        labels = self._labels.of(tensor)
        return torch.full(tuple(tensor.shape), NOTHING, dtype=torch.int32, device="cpu") if labels is None else labels

    # ---- layers -----------------------------------------------------------------------------------------------------

    def _layer(
        self, operation: Any, name: str, args: Sequence[Any], kwargs: Dict[str, Any], outputs: Sequence[torch.Tensor]
    ) -> bool:
        """Whether the operation is a layer; if so, its call is written down."""
        if name == operations.CONVOLUTION:
            call, source, weight, bias = self._convolution(Arguments(operation, args, kwargs))
            axis = 1
        elif name in operations.MATRIX_PRODUCTS:
            found = self._linear(name, Arguments(operation, args, kwargs), args)
            if found is None:
                return False
            call, source, weight, bias = found
            axis = 1
        else:
            return False
        self._feeds(source, call)
        # A weight that is the very tensor of the state dict is no reader of it; anything else is.
        self._read([tensor for tensor, names in ((weight, call.weight), (bias, call.bias)) if tensor is not None and not names], name)
        self._follow(outputs[0], call, axis)
        return True

    def _convolution(self, given: Arguments) -> Tuple[Call, torch.Tensor, torch.Tensor, Optional[torch.Tensor]]:
        weight, bias = given["weight"], given["bias"]
        if given["transposed"]:
            names, kind, channels = self._names.exactly(weight), "conv_transpose", weight.shape[1] * given["groups"]
        else:
            names, kind, channels = self._names.rows_of(weight), "conv", weight.shape[0]
        call = self._call(kind, names, channels, bias)
        call.groups = given["groups"] if given["transposed"] else 1
        call.padded = bool(given["transposed"]) or any(given["padding"])
        return call, given["input"], weight, bias

    def _linear(
        self, name: str, given: Arguments, args: Sequence[Any]
    ) -> Optional[Tuple[Call, torch.Tensor, torch.Tensor, Optional[torch.Tensor]]]:
        """A product with a transposed weight. One with a weight that is stored transposed cannot be written into a plan."""
        at_input, at_weight = operations.MATRIX_PRODUCTS[name]
        source, weight = args[at_input], args[at_weight]
        bias = args[0] if name == "aten.addmm" else None
        if bias is not None and (given["beta"] != 1 or given["alpha"] != 1 or bias.dim() != 1):
            return None
        rows, columns = self._names.rows_of(weight.t()), self._names.rows_of(weight)
        if not rows and not columns:
            return None
        call = self._call("linear", rows or columns, weight.shape[1], bias)
        if not rows or (columns and columns != rows):
            call.problem = "the weight is stored transposed, which a plan cannot say"
        return call, source, weight, bias

    def _call(self, kind: str, names: Tuple[str, ...], channels: int, bias: Optional[torch.Tensor]) -> Call:
        call = Call(kind, names, self._next_label, channels, bias=self._names.exactly(bias))
        if not names:
            call.problem = "its weight is computed while the model runs"
        elif bias is not None and not call.bias:
            call.problem = "its bias is computed while the model runs"
        self._first_labels.append(call.first)
        self._next_label += channels
        self.record.calls.append(call)
        return call

    def _feeds(self, source: torch.Tensor, call: Call) -> None:
        """A layer reads its input. A norm whose whole output it reads could be folded forward into it."""
        labels = self._labels.of(source)
        fed = self._calls_in(labels)
        if len(fed) == 1 and fed[0].kind == "norm" and not call.padded and call.weight and labels is not None:
            if _problem_of(labels, fed[0], 1) is None:
                self.record.followed_by.setdefault(fed[0].first, []).append(len(self.record.calls) - 1)
        for one in fed:
            one.reads.append(call.text())
        for parameter in self._names.touching(source):
            self.record.readers[parameter].append(call.kind)

    def _follow(self, output: torch.Tensor, call: Call, axis: int) -> None:
        labels = channel_labels(call.first, call.channels, axis, tuple(output.shape))
        self._labels.put(output, labels, call.text())

    def _bias_added(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Dict[str, Any],
        outputs: Sequence[torch.Tensor],
        changed: Sequence[torch.Tensor],
    ) -> bool:
        """Whether this adds a linear layer's bias, as PyTorch does by itself where inputs lie scattered in memory."""
        if name not in ("aten.add", "aten.add_") or kwargs or len(args) != 2:
            return False
        value, bias = args
        if not isinstance(value, torch.Tensor) or not isinstance(bias, torch.Tensor) or bias.dim() != 1:
            return False
        names, labels = self._names.exactly(bias), self._labels.of(value)
        calls = self._calls_in(labels)
        if not names or labels is None or len(calls) != 1 or calls[0].kind != "linear" or calls[0].bias:
            return False
        call = calls[0]
        if call.reads or call.norms or _problem_of(labels, call, value.dim() - 1) is not None:
            return False
        call.bias = names
        if not changed:
            self._labels.put(outputs[0], labels, call.text())
        return True

    # ---- norms ------------------------------------------------------------------------------------------------------

    def _norm(self, given: Arguments, name: str, outputs: Sequence[torch.Tensor]) -> bool:
        """Whether the operation is a norm of the state dict; if so, what feeds it is written down."""
        norm = self._norm_of(given)
        if norm is None:
            return False
        training = given.get("training") or given.get("train")
        eps = given.get("eps") if given.get("eps") is not None else given.get("epsilon")
        self.see_norm(norm, given["input"], outputs[0], float(eps), bool(training))
        return True

    def _norm_of(self, given: Arguments) -> Optional[str]:
        """The norm whose statistics, scale and shift these are, exactly."""
        for statistic in self._names.exactly(given["running_var"]):
            norm, _, end = statistic.rpartition(".")
            parts = {"running_mean": "running_mean", "weight": "weight", "bias": "bias"}
            prefix = f"{norm}." if norm else ""
            if end == "running_var" and all(
                _is_part(self._names, given[part], prefix + key) for part, key in parts.items()
            ):
                return norm
        return None

    def see_norm(self, norm: str, source: torch.Tensor, output: torch.Tensor, eps: float, training: bool = False) -> None:
        """Writes down one call of a norm."""
        labels = self._labels.of(source)
        calls = self._calls_in(labels)
        for call in calls:
            call.norms.add(norm)
        seen = self._in_front(source, labels, calls, eps)
        if training:
            seen = Seen(None, (), eps, "batch-statistics", "it normalizes by the statistics of its batch, not by those that are stored")
        self.record.norms.setdefault(norm, []).append(seen)
        followed = Call("norm", (norm,), self._next_label, source.shape[1])
        self._first_labels.append(followed.first)
        self._next_label += followed.channels
        self.record.calls.append(followed)
        self._follow(output, followed, 1)

    def see_compound(self, statistic: torch.Tensor, source: torch.Tensor, output: torch.Tensor, eps: float) -> None:
        """Writes down one call of a norm that is made of small operations, by its running variance."""
        with self._looking(), _disable_current_modes(), torch.no_grad():
            for name in self._names.exactly(statistic):
                self.see_norm(name.rpartition(".")[0], source, output, eps)

    def _in_front(self, source: torch.Tensor, labels: Optional[torch.Tensor], calls: List[Call], eps: float) -> Seen:
        if labels is None or not calls:
            return Seen(None, (), eps, "behind-operation", f"in front of it stands {self._labels.origin(source)}")
        if len(calls) > 1 or bool((labels == NOTHING).any()):
            parts = ", ".join(_slice_of(labels, call) for call in calls[:4])
            rest = " and of what is no layer's output" if bool((labels == NOTHING).any()) else ""
            return Seen(None, (), eps, "several-inputs", f"{self._labels.origin(source)} of {parts}{rest} stands in front of it")
        call = calls[0]
        if call.kind == "norm":
            return Seen(None, (), eps, "behind-norm", f"{call.text()} stands in front of it")
        problem = _problem_of(labels, call, 1)
        if problem is not None:
            return Seen(None, (), eps, "other-channels", f"of the output of {call.text()} it sees {problem}")
        return Seen(bisect.bisect_left(self._first_labels, call.first), call.bias, eps)

    # ---- the rest ---------------------------------------------------------------------------------------------------

    def _calls_in(self, labels: Optional[torch.Tensor]) -> List[Call]:
        """The calls whose outputs are among the elements."""
        if labels is None:
            return []
        # Axes along which labels repeat hold nothing new.
        compact = labels[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in labels.stride())]
        values = torch.unique(compact)
        values = values[values != NOTHING]
        if values.numel() == 0:
            return []
        firsts = torch.tensor(self._first_labels, dtype=torch.int64, device="cpu")
        places = torch.unique(torch.searchsorted(firsts, values.to(torch.int64), right=True) - 1)
        return [self.record.calls[int(place)] for place in places]

    def enter_norm(self) -> None:
        """From here to `leave_norm` operations belong to a norm."""
        self._within += 1

    def leave_norm(self) -> None:
        """The counterpart of `enter_norm`."""
        self._within -= 1

    def leaves_pytorch(self, tensor: torch.Tensor, how: str) -> None:
        """A tensor's elements go where nothing can be followed."""
        if self._within:
            return
        with _disable_current_modes():
            for call in self._calls_in(self._labels.whole(tensor)):
                call.reads.append(how)
            for parameter in self._names.touching(tensor):
                self.record.readers[parameter].append(how)

    def close(self) -> None:
        """What is still alive after the run is an output of the model, or was stored somewhere: it has a reader."""
        gc.collect()
        for labels in self._labels.alive():
            for call in self._calls_in(labels):
                call.reads.append("an output of the model, or something that keeps it")


class Exits(TorchFunctionMode):
    """Sees elements leave PyTorch, which a dispatch mode does not."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name in _EXITS and args and isinstance(args[0], torch.Tensor):
            self._trace.leaves_pytorch(args[0], f"Tensor.{name}")
        return function(*args, **(kwargs or {}))


def _is_part(names: StateNames, tensor: Optional[torch.Tensor], key: str) -> bool:
    """Whether a tensor is the one that the state dict has under this name, or is as absent as it is there."""
    if tensor is None:
        return key not in names.tensors
    return key in names.exactly(tensor)


def _problem_of(labels: torch.Tensor, call: Call, axis: int) -> Optional[str]:
    """What is wrong if the elements along an axis are not the call's channels, all of them and in order."""
    if labels.dim() <= axis:
        return "no channels"
    if labels.shape[axis] != call.channels:
        return f"{labels.shape[axis]} channels, and it has {call.channels}"
    line = torch.arange(call.first, call.first + call.channels, dtype=labels.dtype, device="cpu")
    expected = line.view([-1 if place == axis else 1 for place in range(labels.dim())])
    return None if bool((labels == expected).all()) else "channels in another order"


def _slice_of(labels: torch.Tensor, call: Call) -> str:
    """`conv1.weight (channels 0 to 32)`: where a call's output stands along axis 1, for reasons."""
    mine = (labels >= call.first) & (labels < call.first + call.channels)
    if labels.dim() < 2:
        return call.text()
    where = mine.transpose(0, 1).flatten(1).any(1).nonzero().flatten()
    return f"{call.text()} (channels {int(where[0])} to {int(where[-1]) + 1})"
