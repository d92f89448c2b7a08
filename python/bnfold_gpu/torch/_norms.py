"""Norms that are made of small operations: frozen ones, instance norms with running statistics.

Stage:  before a trace.
In:     modules that hold running statistics but are none of PyTorch's batch norms.
Out:    their eps, if they compute exactly what a batch norm computes in evaluation mode; else nothing.

A copy of the module with random statistics is run on random inputs and held against the formula in float64. Variances
reach down to 1e-7, where every eps makes a difference.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
from torch.nn.modules.batchnorm import _BatchNorm

_EPS = (1e-5, 1e-3, 1e-6, 1e-12, 0.0, 1e-4, 1e-2)
_BEHIND_CHANNELS: Tuple[Tuple[int, ...], ...] = ((5, 4), (7,), (), (3, 4, 5))


def holds_statistics(module: torch.nn.Module) -> bool:
    """Whether a module has the running statistics of a norm."""
    # Those of its own: a module around a norm may pass the norm's on.
    own = {**module._parameters, **module._buffers}
    return all(isinstance(own.get(name), torch.Tensor) for name in ("running_mean", "running_var"))


def channels_of(norm: torch.nn.Module) -> int:
    """How many channels a norm has."""
    statistic = norm.running_var
    assert isinstance(statistic, torch.Tensor)
    return int(statistic.shape[0])


def compound_norms(model: torch.nn.Module) -> Iterator[Tuple[torch.nn.Module, float]]:
    """Module and eps of every norm that PyTorch does not run as one operation."""
    known: Dict[Any, Optional[float]] = {}
    for module in model.modules():
        if holds_statistics(module) and not isinstance(module, _BatchNorm):
            kind = (type(module), getattr(module, "eps", None), channels_of(module))
            if kind not in known:
                known[kind] = eps_of(module)
            eps = known[kind]
            if eps is not None:
                yield module, eps


def eps_of(module: torch.nn.Module) -> Optional[float]:
    """The eps with which a module is a batch norm in evaluation mode; None if it is none."""
    stated = getattr(module, "eps", None)
    candidates = (float(stated),) if isinstance(stated, (int, float)) else _EPS
    for behind in _BEHIND_CHANNELS:
        try:
            source, got, parts = _run(module, behind)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
            continue
        fitting = [eps for eps in candidates if _is_norm(source, got, parts, eps)]
        return fitting[0] if len(fitting) == 1 else None
    return None


def _run(module: torch.nn.Module, behind: Tuple[int, ...]) -> Tuple[torch.Tensor, torch.Tensor, Dict[str, torch.Tensor]]:
    generator = torch.Generator("cpu").manual_seed(1)
    trial = copy.deepcopy(module).to_empty(device="cpu").double().eval()
    # Hooks of the model would see this run.
    trial._forward_hooks.clear()
    trial._forward_pre_hooks.clear()
    channels = channels_of(trial)
    parts = {name: tensor for name, tensor in trial.state_dict(keep_vars=True).items() if tensor.is_floating_point()}
    with torch.no_grad():
        for name, tensor in parts.items():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device="cpu"))
            if name == "running_var":
                tensor.copy_(10 ** (-7 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")))
        source = torch.randn(2, channels, *behind, generator=generator, dtype=torch.float64, device="cpu")
        given = source.clone()
        got = trial(given)
    if not isinstance(got, torch.Tensor) or not torch.equal(given, source):
        raise TypeError("no function from a tensor to a tensor")
    return source, got, parts


def _is_norm(source: torch.Tensor, got: torch.Tensor, parts: Dict[str, torch.Tensor], eps: float) -> bool:
    def along(name: str, otherwise: float) -> torch.Tensor:
        value = parts.get(name, torch.full((source.shape[1],), otherwise, dtype=torch.float64, device="cpu"))
        return value.detach().view(1, -1, *[1] * (source.dim() - 2))

    scale = along("weight", 1.0) / (along("running_var", 1.0) + eps).sqrt()
    expected = (source - along("running_mean", 0.0)) * scale + along("bias", 0.0)
    return got.shape == expected.shape and bool(torch.allclose(got, expected, rtol=1e-9, atol=1e-9))
