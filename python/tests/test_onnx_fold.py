"""onnx.fold: the same outputs, no norms, everything else as it was; or nothing written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import BnfoldWarning, CheckFailed, ModelFailed, TraceError, UsageError  # noqa: E402
from bnfold_gpu.onnx import Folded, fold  # noqa: E402

from .test_onnx_plan import BN, CONV, EXPORTED, NORM, arrays, export, model_of, renamed, said, stored  # noqa: E402
from .test_trace import REFUSALS, X, net, touched  # noqa: E402


def kinds(path: Path) -> List[str]:
    return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]


def saved(model: Any, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def leftovers(folder: Path, *expected: str) -> None:
    assert sorted(one.name for one in folder.iterdir()) == sorted(expected)


@pytest.mark.parametrize("model, shape", EXPORTED)
def test_a_graph_without_its_norm_computes_the_same(model: nn.Module, shape: Tuple[int, ...], tmp_path: Path) -> None:
    path = export(model, tmp_path / "model.onnx", shape)
    for graph in (path, renamed(path)):
        made = fold(graph, tmp_path / "out.onnx", force=True)
        assert not made.plan.kept and made.difference is not None and made.difference <= 1e-5
        assert "BatchNormalization" not in kinds(tmp_path / "out.onnx")
        leftovers(tmp_path, "model.onnx", "out.onnx")


@pytest.mark.filterwarnings("ignore::bnfold_gpu.BnfoldWarning")
@pytest.mark.parametrize("expected, model", [one for one in REFUSALS if one[0] in ("read-twice", "several-inputs", "several-norms", "other-channels")])
def test_norms_that_cannot_be_folded_stay(expected: str, model: nn.Module, tmp_path: Path) -> None:
    path = export(model, tmp_path / "model.onnx")
    made = fold(path, tmp_path / "out.onnx")
    assert made.difference is not None and made.difference <= 1e-5
    assert kinds(tmp_path / "out.onnx").count("BatchNormalization") == len(made.plan.kept)


def test_what_has_nothing_to_do_with_a_norm_stays_as_it_was(tmp_path: Path) -> None:
    model = model_of([CONV, helper.make_node("BatchNormalization", BN, ["n"]), helper.make_node("Relu", ["n"], ["z"], name="last")], arrays())
    model.producer_name, model.doc_string = "somebody", "about it"
    helper.set_model_props(model, {"classes": "7"})
    fold(saved(model, tmp_path), tmp_path / "out.onnx")
    after = onnx.load(tmp_path / "out.onnx")
    assert [node.op_type for node in after.graph.node] == ["Conv", "Relu"] and after.graph.node[1].name == "last"
    assert (after.producer_name, after.doc_string, after.ir_version) == ("somebody", "about it", 8)
    assert after.metadata_props == model.metadata_props and after.opset_import == model.opset_import
    assert [one.name for one in after.graph.initializer] == ["conv.weight", "conv.bias"]
    assert (after.graph.input, after.graph.output) == (model.graph.input, model.graph.output)


def test_an_output_keeps_its_name(tmp_path: Path) -> None:
    fold(saved(model_of([CONV, NORM], arrays()), tmp_path), tmp_path / "out.onnx")
    (node,) = onnx.load(tmp_path / "out.onnx").graph.node
    assert (node.op_type, list(node.output)) == ("Conv", ["z"])
    # Two outputs that are one value once the norms are gone.
    twice = [CONV, NORM, helper.make_node("BatchNormalization", BN, ["again"])]
    fold(saved(model_of(twice, arrays(), ["z", "again"]), tmp_path), tmp_path / "out.onnx", force=True)
    assert kinds(tmp_path / "out.onnx") == ["Conv", "Identity"]


def test_shared_tensors_are_no_obstacle_and_shared_weights_are_one(tmp_path: Path) -> None:
    """Exporters store equal tensors once: here two layers have one bias, and their norms one of everything."""
    tensors = {**arrays(), "b": arrays(2)["bn.bias"], "w2": arrays(1)["conv.weight"], "w3": arrays(3)["conv.weight"]}
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "b"], ["y"]),
        NORM,
        helper.make_node("Conv", ["x", "w2", "b"], ["y2"]),
        helper.make_node("BatchNormalization", ["y2", *BN[1:]], ["z2"]),
        helper.make_node("Conv", ["x", "w3"], ["y3"]),
        helper.make_node("Abs", ["b"], ["z3"]),
    ]
    made = fold(saved(model_of(nodes, tensors, ["z", "z2", "y3", "z3"]), tmp_path), tmp_path / "out.onnx")
    assert len(made.plan.folds) == 2 and kinds(tmp_path / "out.onnx") == ["Conv", "Conv", "Conv", "Abs"]
    nodes[2].input[1] = "conv.weight"
    nodes[4].input[1] = "w2"
    del tensors["w3"]
    tensors["b2"] = tensors["b"] * 2
    nodes[3].input[1] = "b2"
    with pytest.warns(BnfoldWarning, match="none of its 2 norms"):
        made = fold(saved(model_of(nodes, tensors, ["z", "z2", "y3", "z3"]), tmp_path), tmp_path / "out.onnx", force=True)
    assert {layer.reason_code for layer in made.plan} == {"several-norms"}


def test_one_layer_run_twice_with_additions_of_several_shapes(tmp_path: Path) -> None:
    """The same product in front of the same norm, with the bias in two shapes."""
    tensors = {**arrays(), "w": arrays()["conv.weight"].reshape(4, 3).T.copy(), "b": arrays(2)["bn.bias"]}
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        NORM,
        helper.make_node("Reshape", ["x", "three"], ["r3"]),
        helper.make_node("MatMul", ["r3", "w"], ["m3"]),
        helper.make_node("Reshape", ["b", "axes"], ["b3"]),
        helper.make_node("Add", ["b3", "m3"], ["y3"]),
        helper.make_node("Transpose", ["y3"], ["t3"], perm=[0, 2, 1]),
        helper.make_node("BatchNormalization", ["t3", *BN[1:]], ["z3"]),
    ]
    tensors.update(rows=np.array([-1, 3]), three=np.array([2, 8, 3]), axes=np.array([1, 1, 4]))
    model = model_of(nodes, tensors, ["z", "z3"])
    for output, rank in zip(model.graph.output, (2, 3)):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None] * rank))
    made = fold(saved(model, tmp_path), tmp_path / "out.onnx")
    assert len(made.plan.folds) == 1 and made.difference is not None and made.difference <= 1e-6
    assert kinds(tmp_path / "out.onnx") == ["Reshape", "MatMul", "Add", "Reshape", "MatMul", "Reshape", "Add", "Transpose"]


def test_a_value_that_a_branch_reads_is_renamed_there(tmp_path: Path) -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["n"], ["i"])], "b", [], [helper.make_tensor_value_info("i", TensorProto.FLOAT, [None] * 4)])
    true = helper.make_node("Constant", [], ["t"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    nodes = [CONV, helper.make_node("BatchNormalization", BN, ["n"]), true, helper.make_node("If", ["t"], ["z"], then_branch=inner, else_branch=inner)]
    made = fold(saved(model_of(nodes, arrays()), tmp_path), tmp_path / "out.onnx")
    assert len(made.plan.folds) == 1 and made.difference == pytest.approx(0, abs=1e-6)


def test_weights_in_constant_nodes_and_old_files_with_initializers_as_inputs(tmp_path: Path) -> None:
    constants = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name)) for name, value in arrays().items()]
    fold(saved(model_of([*constants, CONV, NORM], {}), tmp_path), tmp_path / "out.onnx")
    assert kinds(tmp_path / "out.onnx") == ["Constant", "Conv"]
    model = model_of([CONV, NORM], arrays(), opset=8)
    model.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in arrays().items())
    model.ir_version = 3
    fold(saved(model, tmp_path), tmp_path / "out.onnx", force=True)
    after = onnx.load(tmp_path / "out.onnx").graph
    assert [one.name for one in after.input] == ["x", "conv.weight", "conv.bias"]
    # Since version 4 of the format such inputs are there to be replaced by callers.
    model.ir_version = 8
    with pytest.warns(BnfoldWarning, match="none of its 1 norms"):
        made = fold(saved(model, tmp_path), tmp_path / "out.onnx", force=True)
    assert made.plan.kept[0].reason_code == "computed" and "callers may replace it" in str(made.plan.kept[0].reason)


@pytest.mark.parametrize("kind, bound", [(TensorProto.FLOAT16, 5e-3), (TensorProto.DOUBLE, 1e-12)])
def test_other_types_are_folded_in_their_type(kind: int, bound: float, tmp_path: Path) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    tensors = {name: value.astype(dtype) for name, value in arrays().items()}
    tensors["conv.weight"] = tensors["conv.weight"].reshape(4, 3).T.copy()
    nodes = [helper.make_node("MatMul", ["x", "conv.weight"], ["y"]), NORM]
    model = model_of(nodes, tensors)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, ["n", 3]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", kind, ["n", 4]))
    made = fold(saved(model, tmp_path), tmp_path / "out.onnx")
    assert made.difference is not None and made.difference <= bound
    after = onnx.load(tmp_path / "out.onnx").graph
    assert [node.op_type for node in after.node] == ["MatMul", "Add"]
    assert {one.data_type for one in after.initializer} == {kind}


def test_tensors_in_files_of_their_own_stay_there(tmp_path: Path) -> None:
    model = net(lambda m, x: m.last(m.bn(m.conv(x))), conv=nn.Conv2d(3, 64, 3), bn=nn.BatchNorm2d(64), last=nn.Conv2d(64, 64, 3))
    inline = onnx.load(export(model, tmp_path / "inline.onnx"))
    (tmp_path / "in").mkdir()
    onnx.save(inline, tmp_path / "in" / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=1024)
    (tmp_path / "out").mkdir()
    made = fold(tmp_path / "in" / "model.onnx", tmp_path / "out" / "model.onnx")
    assert made.difference is not None and made.difference <= 1e-5
    leftovers(tmp_path / "out", "model.onnx", "model.onnx.data")
    assert (tmp_path / "out" / "model.onnx").stat().st_size < 4096
    # The input itself is replaced as well as any other file.
    with pytest.warns(BnfoldWarning, match="it has no norm; the graph was copied"):
        fold(tmp_path / "out" / "model.onnx", tmp_path / "out" / "model.onnx", force=True)
    onnx.checker.check_model(str(tmp_path / "out" / "model.onnx"))
    (tmp_path / "in" / "weights.bin").unlink()
    with pytest.raises(TraceError, match="the elements of 'conv.weight' cannot be read"):
        fold(tmp_path / "in" / "model.onnx", tmp_path / "again.onnx")


# ---- refusals ---------------------------------------------------------------------------------------------------------


def test_nothing_is_replaced_unasked_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = saved(model_of([CONV, NORM], arrays()), tmp_path)
    (tmp_path / "out.onnx").write_text("mine")
    with pytest.raises(UsageError, match="out.onnx exists"):
        fold(path, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_text() == "mine"
    with pytest.raises(UsageError, match="is no folder"):
        fold(path, tmp_path / "nowhere" / "out.onnx")
    bad = arrays()
    bad["bn.running_var"] = -bad["bn.running_var"]
    with pytest.raises(ModelFailed, match="bn"):
        fold(saved(model_of([CONV, NORM], bad), tmp_path), tmp_path / "out.onnx", force=True)
    assert (tmp_path / "out.onnx").read_text() == "mine"
    leftovers(tmp_path, "model.onnx", "out.onnx")


def test_what_cannot_be_placed_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnfold_gpu.onnx import _check, _output

    path = saved(model_of([CONV, NORM], arrays()), tmp_path)
    # Somebody else's file gets the name while this one is checked.
    monkeypatch.setattr(_check, "well_formed", lambda *_: (tmp_path / "out.onnx").write_text("theirs"))
    with pytest.raises(UsageError, match="exists now, and did not when this began"):
        fold(path, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_text() == "theirs"

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_output, "_move", full)
    with pytest.raises(OSError, match="No space"):
        fold(path, tmp_path / "out.onnx", force=True)
    assert (tmp_path / "out.onnx").read_text() == "theirs"
    leftovers(tmp_path, "model.onnx", "out.onnx")


def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both checks, of the outputs and of the parts, see a number that is wrong in one channel."""
    from bnfold_gpu.onnx import _rewrite

    put = _rewrite._set

    def wrong(tensor: Any, bits: Any) -> None:
        values = bits.view(np.float32).copy()
        values.flat[0] *= 1.001
        put(tensor, values.view(np.uint32))

    monkeypatch.setattr(_rewrite, "_set", wrong)
    path = saved(model_of([CONV, NORM], arrays()), tmp_path)
    with pytest.raises(CheckFailed, match=r"outputs differ by \d.*, and a part of the graph by [1-9].*e-0[34]"):
        fold(path, tmp_path / "out.onnx")
    leftovers(tmp_path, "model.onnx")


def test_a_graph_that_is_wired_wrongly_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folded layer is right, and what comes behind the second reads the first."""
    from bnfold_gpu.onnx import _rewrite

    put = _rewrite._rename_in
    monkeypatch.setattr(_rewrite, "_rename_in", lambda node, old, new: put(node, old, "y" if (old, new) == ("n2", "y2") else new))
    tensors = {**arrays(), "w2": arrays(1)["conv.weight"]}
    nodes = [
        CONV,
        helper.make_node("BatchNormalization", BN, ["n"]),
        helper.make_node("Conv", ["x", "w2"], ["y2"]),
        helper.make_node("BatchNormalization", ["y2", *BN[1:]], ["n2"]),
        helper.make_node("Sub", ["n", "n2"], ["z"]),
    ]
    with pytest.raises(CheckFailed, match="a part of the graph by"):
        fold(saved(model_of(nodes, tensors), tmp_path), tmp_path / "out.onnx")
    leftovers(tmp_path, "model.onnx")


def test_a_file_that_the_checker_does_not_accept_is_no_worse_once_it_is_folded(tmp_path: Path) -> None:
    model = model_of([CONV, NORM], arrays())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.warns(BnfoldWarning, match="nor is the folded graph: Field 'shape'"):
        assert fold(saved(model, tmp_path), tmp_path / "out.onnx").plan.folds


def test_a_network_that_makes_rounding_large_is_checked_part_by_part(tmp_path: Path) -> None:
    """A sine of large numbers: the output tells nothing, the parts do."""
    tensors = {**arrays(), "big": np.array(1e6, dtype=np.float32)}
    nodes = [CONV, helper.make_node("BatchNormalization", BN, ["n"]), helper.make_node("Mul", ["n", "big"], ["m"]), helper.make_node("Sin", ["m"], ["z"])]
    made: Folded = fold(saved(model_of(nodes, tensors), tmp_path), tmp_path / "out.onnx")
    assert made.difference is not None and made.difference > 1e-5
    assert made.parts_difference is not None and made.parts_difference <= 1e-5


def test_a_model_that_does_not_run_is_refused_unless_unchecked(tmp_path: Path) -> None:
    image: Dict[str, Any] = {"x": np.zeros((1, 3, 4, 4), dtype=np.float32)}
    model = model_of([CONV, NORM, helper.make_node("Unheard", ["z"], ["u"], domain="elsewhere")], arrays(), ["z", "u"])
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    path = saved(model, tmp_path)
    with pytest.raises(CheckFailed, match="onnxruntime does not load it.*check=False"):
        fold(path, tmp_path / "out.onnx", inputs=image)
    leftovers(tmp_path, "model.onnx")
    assert fold(path, tmp_path / "out.onnx", check=False).difference is None
    assert kinds(tmp_path / "out.onnx") == ["Conv", "Unheard"]


def test_without_onnxruntime_a_warning_says_what_was_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = saved(model_of([CONV, NORM], arrays()), tmp_path)
    with pytest.warns(BnfoldWarning, match="onnxruntime is not installed") as said:
        assert fold(path, tmp_path / "out.onnx").difference is None
    assert [one.message.code for one in said if isinstance(one.message, BnfoldWarning)] == ["unchecked"]


def test_axes_without_a_size_get_one_that_the_network_takes(tmp_path: Path) -> None:
    model = net(lambda m, x: m.last(m.bn(m.conv(x)).flatten(1)), last=nn.Linear(8 * 30 * 30, 4))
    free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    path = export(model, tmp_path / "model.onnx", (1, 3, 32, 32), **free)
    made = fold(path, tmp_path / "out.onnx")
    assert made.difference is not None and made.difference <= 1e-5
    example = np.ones((2, *X[1:2], 32, 32), dtype=np.float32)
    assert fold(path, tmp_path / "out.onnx", inputs={"x": example}, force=True).difference is not None


@pytest.mark.filterwarnings("ignore::bnfold_gpu.BnfoldWarning")
@pytest.mark.parametrize("library, name", [("torchvision", "shufflenet_v2_x0_5"), ("torchvision", "googlenet"), ("timm", "levit_128s"), ("timm", "repvgg_a0")])
def test_real_networks_have_the_plan_of_a_trace_and_the_same_outputs(library: str, name: str, tmp_path: Path) -> None:
    """scripts/check_onnx.py does this for 35."""
    if library == "timm":
        model = pytest.importorskip("timm").create_model(name)
    else:
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        model = pytest.importorskip("torchvision").models.get_model(name, weights=None, **options)
    size = 224 if name.startswith("levit") else 64
    path = export(touched(model), tmp_path / "model.onnx", (1, 3, size, size))
    traced = bnfold_gpu.torch.make_plan(model, torch.randn(1, 3, size, size))
    found = bnfold_gpu.onnx.make_plan(path, stored(model, tmp_path))
    assert [said(layer) for layer in found] == [said(layer) for layer in traced]
    made = fold(path, tmp_path / "out.onnx")
    assert len(made.plan.folds) == len(traced.folds) > 40
    assert made.difference is not None and (made.difference if made.parts_difference is None else made.parts_difference) <= 1e-5
    assert kinds(tmp_path / "out.onnx").count("BatchNormalization") == len(traced.kept)
