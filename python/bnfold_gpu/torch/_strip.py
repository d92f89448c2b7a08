"""Makes a model into the one that a stripped file is for.

Stage:  while a file is loaded.
In:     a model that has its norms, and the tensors of a folded file. Out: a list of changes, which can be made and undone.

The file says what is to be done: a norm whose statistics are not there was folded away, a layer that has a bias there gets
one. What such a norm does besides normalizing (timm's hold dropout and an activation) stays; what is put in its place is
run beside it before anything is changed.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import LoadError
from ._norms import channels_of, eps_of, holds_statistics

# What norms of libraries hold besides the norm, in the order in which it is run.
_BESIDE = ("drop", "act", "activation")
_SHAPES = ((5, 4), (7,), (), (3, 4, 5))
# What blocks call their `forward` without a norm, for use after they fused it: the YOLO families'.
_FUSED_FORWARDS = ("forward_fuse", "fuseforward")
# What only blocks have that compute one kernel out of several branches, each with its norm: RepVGG's and its relatives'.
_MERGES = ("get_equivalent_kernel_bias", "fuse_convs")
_OF_NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "eps", "momentum", "affine", "num_features")


class FoldedNorm(torch.nn.Sequential):
    """What is left of a norm that was folded into the layer before it: nothing, or its dropout and activation."""

    def __getattr__(self, name: str) -> Any:
        if name in _OF_NORMS:
            # A stand-in with the identity's values would not do: such code passes by the bias that the layer has now.
            raise AttributeError(
                f"this batch norm was folded into the layer before it and has no `{name}` any more; "
                "for code that fuses layers and norms itself, fold with style='drop-in'"
            )
        return super().__getattr__(name)


@dataclass
class Change:
    """A module or a parameter of a module that takes the place of another."""

    parent: torch.nn.Module
    name: str
    new: object
    old: object

    def make(self) -> None:
        """Makes the change."""
        setattr(self.parent, self.name, self.new)

    def undo(self) -> None:
        """Takes it back."""
        setattr(self.parent, self.name, self.old)


@dataclass
class FusedForm(Change):
    """A block goes over to the `forward` that its library gave it for when its norm is gone. `new` is that method's name."""

    children: Dict[str, Optional[torch.nn.Module]] = field(default_factory=dict)

    def make(self) -> None:
        """Makes the change."""
        self.children = dict(self.parent._modules)
        delattr(self.parent, self.name)
        setattr(self.parent, "forward", getattr(self.parent, str(self.new)))

    def undo(self) -> None:
        """Takes it back."""
        delattr(self.parent, "forward")
        # In the order in which they were.
        self.parent._modules.clear()
        self.parent._modules.update(self.children)


def changes(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> List[Change]:
    """Everything that has to be changed before the tensors fit. Nothing is changed yet."""
    found: List[Change] = []
    done: Dict[int, FoldedNorm] = {}
    biases: Dict[int, torch.nn.Parameter] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        if holds_statistics(module) and f"{prefix}running_var" not in tensors:
            parent, last = _parent(model, name)
            rest = done.setdefault(id(module), rest_of(name, module)) if id(module) not in done else done[id(module)]
            found.append(Change(parent, last, rest, module))
        elif f"{prefix}bias" in tensors and getattr(module, "bias", 0) is None and "weight" in dict(module.named_parameters(recurse=False)):
            new = biases.setdefault(id(module), _bias(module, tensors[f"{prefix}bias"]))
            found.append(Change(module, "bias", new, None))
    gone = [change for change in found if isinstance(change.new, FoldedNorm)]
    return found + [form for change in gone if (form := _fused_form(model, change)) is not None]


def _fused_form(model: torch.nn.Module, norm: Change) -> Optional[FusedForm]:
    """The block around a norm as its library leaves it after fusing, if it computes the same.

    Libraries that have such a form fuse models before they run them, and look for norms by their attribute.
    """
    block, rest = norm.parent, norm.new
    method = next((one for one in _FUSED_FORWARDS if callable(getattr(block, one, None))), None)
    if method is None or "forward" in vars(block) or not isinstance(rest, FoldedNorm) or len(rest):
        return None
    around = next((one for one in model.modules() if any(child is block for child in one.children())), None)
    if any(hasattr(around, one) for one in _MERGES):
        return None
    layers = [name for name, child in block.named_children() if "weight" in child._parameters and child is not norm.old]
    if len(layers) != 1:
        return None
    channels = channels_of(norm.old) if isinstance(norm.old, torch.nn.Module) else 0
    source = 3 * torch.randn(2, channels, 5, 4, generator=torch.Generator().manual_seed(1))
    try:
        before = _without_layer(block, {layers[0]: torch.nn.Identity(), norm.name: rest})
        after = _without_layer(block, {layers[0]: torch.nn.Identity()}, norm.name)
        with torch.no_grad():
            same = torch.equal(before(source.clone()), getattr(after, method)(source.clone()))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return None
    return FusedForm(block, norm.name, method, norm.old) if same else None


def _without_layer(block: torch.nn.Module, put: Mapping[str, torch.nn.Module], gone: Optional[str] = None) -> torch.nn.Module:
    """A copy of a block for a trial, with some of its modules replaced and one removed."""
    trial = copy.copy(block)
    trial._modules = {name: put.get(name, child) for name, child in block._modules.items() if name != gone}
    return copy.deepcopy(trial).cpu().eval()


def _bias(module: torch.nn.Module, stored: torch.Tensor) -> torch.nn.Parameter:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return torch.nn.Parameter(torch.zeros(stored.shape, dtype=weight.dtype, device=weight.device), weight.requires_grad)


def _parent(model: torch.nn.Module, name: str) -> Tuple[torch.nn.Module, str]:
    path, _, last = name.rpartition(".")
    if not last:
        raise LoadError("the model is a norm itself, and nothing is left of it")
    return model.get_submodule(path), last


def rest_of(name: str, norm: torch.nn.Module) -> FoldedNorm:
    """What a norm does besides normalizing; LoadError if that is not known."""
    beside = [(key, child) for key, child in norm.named_children() if key in _BESIDE]
    beside.sort(key=lambda pair: _BESIDE.index(pair[0]))
    rest = FoldedNorm(OrderedDict(beside))
    rest.train(norm.training)
    if not _plain(norm) and not _same(norm, rest):
        raise LoadError(
            f"{name} was folded, and its class {type(norm).__name__} does more than normalize, which would be lost; "
            "fold with style='drop-in' and load with load_state_dict"
        )
    return rest


def _plain(norm: torch.nn.Module) -> bool:
    """Whether a norm's code is PyTorch's own and nothing hangs on it."""
    kind = type(norm)
    return isinstance(norm, _BatchNorm) and kind.__module__.startswith("torch.nn.modules") and not norm._forward_hooks


def _same(norm: torch.nn.Module, rest: FoldedNorm) -> bool:
    """Whether the norm as the identity, and what is to take its place, compute the same."""
    eps = eps_of(norm) if not isinstance(norm, _BatchNorm) else float(norm.eps)
    if eps is None:
        eps = float(getattr(norm, "eps", 1e-5))
    for behind in _SHAPES:
        got = _as_identity(norm, eps, behind)
        if got is not None:
            source, output = got
            with torch.no_grad():
                expected = copy.deepcopy(rest).to(device="cpu", dtype=torch.float64).eval()(source.clone())
            return output.shape == expected.shape and torch.allclose(output, expected, rtol=1e-6, atol=1e-6)
    return False


def _as_identity(norm: torch.nn.Module, eps: float, behind: Tuple[int, ...]) -> Optional[Tuple[torch.Tensor, torch.Tensor]]:
    """What a norm of mean 0 and variance 1 - eps makes of random numbers; None if it does not take their shape."""
    trial = copy.deepcopy(norm).to_empty(device="cpu").double().eval()
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
    with torch.no_grad():
        for key, tensor in trial.state_dict(keep_vars=True).items():
            tensor.fill_(values.get(key, 0.0))
        generator = torch.Generator().manual_seed(1)
        channels = channels_of(trial)
        source = 3 * torch.randn(2, channels, *behind, generator=generator, dtype=torch.float64)
        try:
            output = trial(source.clone())
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
            return None
    return (source, output) if isinstance(output, torch.Tensor) else None


def misfits(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], tied: Collection[str]) -> List[str]:
    """What of a file does not fit the model, in sentences; `tied` may be missing."""
    own = {key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, torch.Tensor)}
    missing = [key for key in own if key not in tensors and key not in tied and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in tensors if key not in own]
    shapes = [
        f"{key} is {list(tensors[key].shape)} there and {list(own[key].shape)} here"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    said = []
    if missing:
        said.append(f"{len(missing)} tensors of the model are not in the file, such as {', '.join(missing[:3])}")
    if unexpected:
        said.append(f"{len(unexpected)} tensors of the file are not in the model, such as {', '.join(unexpected[:3])}")
    if shapes:
        said.append(f"{len(shapes)} have other shapes: {', '.join(shapes[:3])}")
    return said
