"""onnx.make_plan: the same plan from a graph as from the model, and what only a graph can hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.numpy import save_file as save_arrays  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import Layer, Plan, TraceError  # noqa: E402

from .test_trace import PAIRS, REFUSALS, X, changed_through_a_view, kept_by_attribute, net, touched  # noqa: E402

SAID = ("action", "weight", "op", "bias", "bias_exists", "channels", "groups", "eps", "reason_code")


def export(model: nn.Module, path: Path, shape: Tuple[int, ...] = X, dynamo: bool = False, **options: Any) -> Path:
    """A graph that has its norms, from PyTorch's first exporter, or from its second, which knows more operations."""
    example = (torch.randn(*shape, generator=torch.Generator().manual_seed(1)),)
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not dynamo:
                torch.onnx.export(model, example, str(path), dynamo=False, **kept)
                return path
        except torch.onnx.errors.UnsupportedOperatorError:
            pass
        torch.onnx.export(model, example, dynamo=True, optimize=False, verbose=False, **options).save(path)
    return path


def stored(model: nn.Module, folder: Path) -> Path:
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


def planned(model: nn.Module, folder: Path, shape: Tuple[int, ...] = X, **options: Any) -> Plan:
    return bnfold_gpu.onnx.make_plan(export(model, folder / "model.onnx", shape, **options), stored(model, folder))


def renamed(path: Path) -> Path:
    """The same graph with other names for everything."""
    model, names = onnx.load(path), {"": ""}
    for node in model.graph.node:
        node.input[:] = [names.setdefault(name, f"v{len(names)}") for name in node.input]
        node.output[:] = [names.setdefault(name, f"v{len(names)}") for name in node.output]
    for one in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        one.name = names[one.name]
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path


def said(layer: Layer) -> Tuple[Any, ...]:
    return (layer.norm, *(getattr(layer, key) for key in SAID))


# ---- against the trace ------------------------------------------------------------------------------------------------


# Exported as something else than a norm: by both exporters as many operations.
EXPORTED = [pair for pair in PAIRS if not isinstance(pair[0].bn, nn.InstanceNorm2d)]
SLOW = [(False, *pair) for pair in EXPORTED] + [(True, *EXPORTED[place]) for place in (2, 5, 6, 8, 13, -3)]


@pytest.mark.parametrize("dynamo, model, shape", SLOW)
def test_the_plan_of_a_graph_is_that_of_its_model(dynamo: bool, model: nn.Module, shape: Tuple[int, ...], tmp_path: Path) -> None:
    traced = bnfold_gpu.torch.make_plan(model, torch.randn(*shape))
    found = planned(model, tmp_path, shape, dynamo=dynamo)
    assert [said(layer) for layer in found] == [said(layer) for layer in traced], found.kept
    by_values = bnfold_gpu.onnx.make_plan(renamed(tmp_path / "model.onnx"), tmp_path / "model.safetensors")
    assert by_values == found


# What a module keeps for itself is in no graph, the exporter loses writes through views, and it runs equal layers once.
AS_EXPORTED = {kept_by_attribute: None, changed_through_a_view: None, REFUSALS[13][1].run: "read-twice"}


@pytest.mark.parametrize("expected, model", REFUSALS)
def test_what_is_not_proven_stays_for_the_same_reason(expected: str, model: Any, tmp_path: Path) -> None:
    if expected == "not-run":
        with pytest.raises(TraceError, match="Exporters fold norms unless they are told not to"):
            planned(model, tmp_path)
        return
    layer = planned(model, tmp_path)["bn"]
    assert layer.reason_code == AS_EXPORTED.get(model.run, expected), layer
