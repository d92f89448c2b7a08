"""onnx.make_plan: the same plan from a graph as from the model, and what only a graph can hold."""

from __future__ import annotations

import importlib
import sys
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
from bnfold_gpu import Layer, MissingLibrary, Plan, TraceError  # noqa: E402

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


# ---- names and values -------------------------------------------------------------------------------------------------


def tied() -> nn.Module:
    model = net(lambda m, x: m.bn(m.conv(x)))
    model.again = model.conv
    return model


def test_a_network_as_it_is_made_has_equal_norms_and_is_told_apart_by_names(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)).eval()
    plan = planned(model, tmp_path)
    assert {layer.norm: layer.weight for layer in plan.folds} == {"1": "0.weight", "4": "3.weight"}
    # Without names nothing tells them apart.
    plan = bnfold_gpu.onnx.make_plan(renamed(tmp_path / "model.onnx"), tmp_path / "model.safetensors")
    assert [layer.reason_code for layer in plan] == ["ambiguous", "ambiguous"] and "1, 4 have the same values" in str(plan["1"].reason)


def test_a_copy_of_which_the_graph_knows_nothing_is_an_alias(tmp_path: Path) -> None:
    layer = planned(tied(), tmp_path)["bn"]
    assert layer.reason_code == "aliased" and "again.weight" in str(layer.reason)
    model = net(lambda m, x: m.bn(m.conv(x)))
    model.again = model.bn
    layer = planned(model, tmp_path)["bn"]
    assert layer.reason_code == "aliased" and "again." in str(layer.reason)


def test_values_that_fit_several_weights_are_refused(tmp_path: Path) -> None:
    model = net(lambda m, x: m.bn(m.conv(x)) + m.bn2(m.conv2(x)), bn2=nn.BatchNorm2d(8), conv2=nn.Conv2d(3, 8, 3, bias=False))
    model.conv2.weight.data.copy_(model.conv.weight.data)
    model.bn2.weight.data.mul_(2)
    assert len(planned(model, tmp_path).folds) == 2
    plan = bnfold_gpu.onnx.make_plan(renamed(tmp_path / "model.onnx"), tmp_path / "model.safetensors")
    assert {layer.reason_code for layer in plan} == {"ambiguous"}


def test_names_of_another_training_state_have_to_be_asked_for(tmp_path: Path) -> None:
    model = net(lambda m, x: m.bn(m.conv(x)))
    graph = export(model, tmp_path / "model.onnx")
    for tensor in model.state_dict().values():
        tensor.add_(1)
    checkpoint = stored(model, tmp_path)
    with pytest.raises(TraceError, match="none of the 1 norms of .* take names alone with same_values=False"):
        bnfold_gpu.onnx.make_plan(graph, checkpoint)
    assert bnfold_gpu.onnx.make_plan(graph, checkpoint, same_values=False)["bn"].weight == "conv.weight"


def test_a_weight_that_an_optimizer_changed_is_not_trusted_by_its_name(tmp_path: Path) -> None:
    """Folded in front of the norm: the graph's weight is not the checkpoint's any more, only its name is."""
    model = net(lambda m, x: m.bn(m.conv(x)))
    graph = onnx.load(export(model, tmp_path / "model.onnx"))
    weight = next(one for one in graph.graph.initializer if one.name == "conv.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, "conv.weight"))
    onnx.save(graph, tmp_path / "changed.onnx")
    layer = bnfold_gpu.onnx.make_plan(tmp_path / "changed.onnx", stored(model, tmp_path))["bn"]
    assert layer.reason_code == "other-values"


def test_a_part_of_a_larger_network_is_found_by_values_where_names_mean_another(tmp_path: Path) -> None:
    """The graph's `conv.weight` is the checkpoint's `part.conv.weight`, and there is another `conv.weight`."""
    part, other = (net(lambda m, x: m.bn(m.conv(x))) for _ in range(2))
    whole = {**other.state_dict(), **{f"part.{name}": value.clone() for name, value in part.state_dict().items()}}
    whole["bn.running_mean"] = whole["bn.running_mean"] + 1
    save_file(whole, tmp_path / "model.safetensors")
    plan = bnfold_gpu.onnx.make_plan(export(part, tmp_path / "model.onnx"), tmp_path / "model.safetensors")
    assert plan["part.bn"].weight == "part.conv.weight" and plan["bn"].reason_code == "not-run"


def test_without_onnx_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("bnfold_gpu.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingLibrary, match=r"bnfold_gpu.onnx needs onnx: pip install onnx \(or pip install 'bnfold-gpu\[onnx\]'\)"):
        importlib.import_module("bnfold_gpu.onnx")


def test_square_weights_of_products_are_told_from_transposed_ones_by_values(tmp_path: Path) -> None:
    model = net(lambda m, x: m.bn(x @ m.conv.weight), conv=nn.Linear(8, 8, bias=False), bn=nn.BatchNorm1d(8))
    layer = planned(model, tmp_path, (4, 8))["bn"]
    assert layer.reason_code == "computed" and "stored transposed" in str(layer.reason)
    model = net(lambda m, x: m.bn(m.conv(x).transpose(1, 2)), conv=nn.Linear(8, 8), bn=nn.BatchNorm1d(8))
    assert planned(model, tmp_path, (2, 5, 8), do_constant_folding=True)["bn"].weight == "conv.weight"
    assert bnfold_gpu.onnx.make_plan(renamed(tmp_path / "model.onnx"), tmp_path / "model.safetensors")["bn"].weight == "conv.weight"


def test_sizes_that_are_not_known_prove_what_they_can(tmp_path: Path) -> None:
    free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "length"}}}
    model = net(lambda m, x: m.bn(m.conv(x).flatten(2)), bn=nn.BatchNorm1d(8))
    assert planned(model, tmp_path, **free)["bn"].is_fold
    model = net(lambda m, x: m.bn(m.conv(x.mT).reshape(-1, 8)), conv=nn.Linear(3, 8), bn=nn.BatchNorm1d(8))
    assert planned(model, tmp_path, (2, 3, 5), dynamo=True)["bn"].is_fold
    # The same number of channels, and other ones.
    model = net(lambda m, x: m.bn(m.conv(x).reshape(-1, 8, 7)), conv=nn.Conv1d(3, 8, 3), bn=nn.BatchNorm1d(8))
    assert planned(model, tmp_path, (2, 3, 9))["bn"].is_fold
    model = net(lambda m, x: m.bn(m.conv(x).mT.reshape(-1, 8, 7)), conv=nn.Conv1d(3, 8, 3), bn=nn.BatchNorm1d(8))
    assert planned(model, tmp_path, (2, 3, 9), dynamo=True)["bn"].reason_code == "other-channels"


# ---- graphs that PyTorch does not make --------------------------------------------------------------------------------


def arrays(seed: int = 0) -> Dict[str, Any]:
    random = np.random.default_rng(seed)
    norm = {f"bn.{part}": random.random(4, dtype=np.float32) + np.float32(0.3) for part in ("weight", "bias", "running_mean", "running_var")}
    return {"conv.weight": random.standard_normal((4, 3, 1, 1), dtype=np.float32), **norm}


BN = ["y", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
IMAGE = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])


def model_of(nodes: Sequence[Any], tensors: Dict[str, Any], outputs: Sequence[str] = ("z",), opset: int = 17, **options: Any) -> Any:
    stored_tensors = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    graph = helper.make_graph(nodes, "net", [IMAGE], infos, initializer=stored_tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def of_graph(nodes: Sequence[Any], folder: Path, outputs: Sequence[str] = ("z",), **options: Any) -> Layer:
    onnx.save(model_of(nodes, arrays(), outputs, **options), folder / "model.onnx")
    save_arrays(arrays(), folder / "model.safetensors")
    return bnfold_gpu.onnx.make_plan(folder / "model.onnx", folder / "model.safetensors")["bn"]


CONV = helper.make_node("Conv", ["x", "conv.weight"], ["y"])
NORM = helper.make_node("BatchNormalization", BN, ["z"])
BRANCH = helper.make_graph([helper.make_node("Relu", ["y"], ["inner"])], "branch", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [None] * 4)])
TRUE = helper.make_node("Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))


@pytest.mark.parametrize(
    "expected, nodes, outputs",
    [
        (None, [CONV, NORM], ["z"]),
        (None, [CONV, NORM, helper.make_node("Shape", ["y"], ["shape"])], ["z"]),
        ("read-twice", [CONV, NORM], ["z", "y"]),
        ("read-twice", [CONV, NORM, TRUE, helper.make_node("If", ["true"], ["o"], then_branch=BRANCH, else_branch=BRANCH)], ["z"]),
        ("read-twice", [CONV, NORM, helper.make_node("Abs", ["conv.weight"], ["w"])], ["z"]),
        ("norm-read", [CONV, NORM, helper.make_node("Abs", ["bn.bias"], ["w"])], ["z"]),
        ("batch-statistics", [CONV, helper.make_node("BatchNormalization", BN, ["z", "m", "v"], training_mode=1)], ["z"]),
        ("behind-operation", [helper.make_node("Conv", ["x", "conv.weight"], ["y"], domain="elsewhere"), NORM], ["z"]),
        ("behind-operation", [CONV, helper.make_node("Cast", ["y"], ["h"], to=TensorProto.FLOAT16), helper.make_node("Cast", ["h"], ["c"], to=TensorProto.FLOAT), helper.make_node("BatchNormalization", ["c", *BN[1:]], ["z"])], ["z"]),
        (None, [CONV, helper.make_node("Cast", ["y"], ["c"], to=TensorProto.FLOAT), helper.make_node("BatchNormalization", ["c", *BN[1:]], ["z"])], ["z"]),
    ],
)  # fmt: skip
def test_readers_are_seen_wherever_they_are(expected: Optional[str], nodes: List[Any], outputs: List[str], tmp_path: Path) -> None:
    assert of_graph(nodes, tmp_path, outputs).reason_code == expected


def test_functions_of_a_file_are_looked_into(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("BatchNormalization", ["y", "a", "b", "c", "d"], ["z"])]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Block", ["x", "w", "a", "b", "c", "d"], ["z"], nodes, imports[:1])
    model = model_of([helper.make_node("Block", ["x", "conv.weight", *BN[1:]], ["z"], domain="own")], arrays(), functions=[function])
    model.opset_import.append(imports[1])
    onnx.save(model, tmp_path / "model.onnx")
    save_arrays(arrays(), tmp_path / "model.safetensors")
    assert bnfold_gpu.onnx.make_plan(tmp_path / "model.onnx", tmp_path / "model.safetensors")["bn"].weight == "conv.weight"


def test_files_that_are_none_are_errors(tmp_path: Path) -> None:
    save_arrays(arrays(), tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_bytes(b"no model" * 9)
    with pytest.raises(TraceError, match="no ONNX model"):
        bnfold_gpu.onnx.make_plan(tmp_path / "model.onnx", tmp_path / "model.safetensors")
    onnx.save(model_of([CONV, NORM], arrays(), opset=6), tmp_path / "old.onnx")
    with pytest.raises(TraceError, match="opset 6, and 7 or newer"):
        bnfold_gpu.onnx.make_plan(tmp_path / "old.onnx", tmp_path / "model.safetensors")
    onnx.save(model_of([CONV, NORM], arrays()), tmp_path / "model.onnx")
    (tmp_path / "bad.safetensors").write_bytes(b"0" * 99)
    with pytest.raises(TraceError, match="not a .safetensors file"):
        bnfold_gpu.onnx.make_plan(tmp_path / "model.onnx", tmp_path / "bad.safetensors")
    save_arrays({"w": np.zeros(3, dtype=np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(TraceError, match="has no norm"):
        bnfold_gpu.onnx.make_plan(tmp_path / "model.onnx", tmp_path / "other.safetensors")
    save_arrays({name: value + 1 for name, value in arrays(5).items()}, tmp_path / "other.safetensors")
    with pytest.raises(TraceError, match="name the checkpoint that it was exported from"):
        bnfold_gpu.onnx.make_plan(renamed(tmp_path / "model.onnx"), tmp_path / "other.safetensors")
