"""load_folded and check: strict, all or nothing, and useful afterwards."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Dict

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import CheckFailed, LoadError  # noqa: E402
from bnfold_gpu.torch import FoldedNorm, check, load_folded, make_plan  # noqa: E402

from .test_trace import touched  # noqa: E402


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5))


@pytest.fixture
def example() -> torch.Tensor:
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def folded(model: nn.Module, folder: Path, example: torch.Tensor, **options: str) -> Path:
    save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    plan = make_plan(model, example)
    bnfold_gpu.fold(folder / "model.safetensors", folder / "folded.safetensors", plan=plan, force=True, **options)  # type: ignore[arg-type]
    return folder / "folded.safetensors"


def state(model: nn.Module) -> Dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("style", ["strip", "drop-in"])
def test_both_styles_load_and_compute_the_same(style: str, tmp_path: Path, example: torch.Tensor) -> None:
    model = touched(network())
    path = folded(model, tmp_path, example, style=style)
    assert check(model, path, example).largest <= 1e-6
    loaded = load_folded(network(), path)
    assert isinstance(loaded[1], FoldedNorm) == (style == "strip") and not loaded.training
    assert loaded.state_dict().keys() == load_file(path).keys()


class Block(nn.Module):
    """A convolution, its norm and an activation, with a form for when the norm is fused, as YOLO networks have them."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(channels, 8, 3, bias=False), nn.BatchNorm2d(8), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x))


class OtherForm(Block):
    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Merged(nn.Module):
    """Two branches that become one kernel, by the norms' values and without the convolutions' biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = Block(), Block()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1(x) + self.conv2(x)

    def get_equivalent_kernel_bias(self) -> torch.Tensor:
        return self.conv1.bn.bias - self.conv1.bn.running_mean


def test_blocks_go_over_to_the_form_that_their_library_has_without_norm(tmp_path: Path, example: torch.Tensor) -> None:
    def build() -> nn.Module:
        return nn.Sequential(Block(), OtherForm(8), nn.Flatten())

    model = touched(build())
    path = folded(model, tmp_path, example)
    check(model, path, example)
    loaded = load_folded(build(), path)
    assert not hasattr(loaded[0], "bn") and loaded[0].forward == loaded[0].forward_fuse
    assert isinstance(loaded[1].bn, FoldedNorm), "its other form leaves the activation out"
    assert torch.allclose(loaded(example), model(example), atol=1e-5)
    again = copy.deepcopy(loaded)
    assert again[0].forward.__self__ is again[0] and torch.equal(again(example), loaded(example))

    other = nn.Sequential(Block(), OtherForm(8), nn.Flatten(), nn.Linear(5, 5))
    with pytest.raises(LoadError):
        load_folded(other, path)
    assert [name for name, _ in other[0].named_children()] == ["conv", "bn", "act"] and "forward" not in vars(other[0])


def test_code_that_merges_branches_itself_is_told_and_never_wrong(tmp_path: Path, example: torch.Tensor) -> None:
    model = touched(Merged())
    path = folded(model, tmp_path, example)
    loaded = load_folded(Merged(), path)
    assert torch.allclose(loaded(example), model(example), atol=1e-5)
    with pytest.raises(AttributeError, match="folded into the layer before it.*style='drop-in'"):
        loaded.get_equivalent_kernel_bias()
    assert not hasattr(loaded.conv1.bn, "running_var")


def test_a_file_of_another_network_changes_nothing(tmp_path: Path, example: torch.Tensor) -> None:
    path = folded(touched(network()), tmp_path, example)
    others = {
        "4.weight is": nn.Sequential(*network()[:4], nn.Linear(8 * 49, 6)),
        "not in the model, such as 4": network()[:4],
        "not in the file, such as 5": nn.Sequential(*network(), nn.Linear(5, 5)),
        "1 norms were folded away, and of this model's norms it lacks 2": nn.Sequential(*network(), nn.BatchNorm1d(5)),
    }
    for words, other in others.items():
        before, modules = state(other), list(other.modules())
        with pytest.raises(LoadError, match=words):
            load_folded(other, path)
        assert state(other) == before and all(a is b for a, b in zip(other.modules(), modules)) and other.training
        assert other[0].bias is None


def test_a_damaged_file_changes_nothing(tmp_path: Path, example: torch.Tensor) -> None:
    path = folded(touched(network()), tmp_path, example)
    path.write_bytes(path.read_bytes()[:-100])
    model = network()
    before = state(model)
    with pytest.raises(LoadError, match="fold the model again"):
        load_folded(model, path)
    with pytest.raises(LoadError):
        load_folded(model, tmp_path / "absent.safetensors")
    assert state(model) == before


def test_a_failure_while_values_are_copied_gives_the_old_ones_back(
    tmp_path: Path, example: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folded(touched(network()), tmp_path, example)
    model, calls = network(), []
    before = state(model)

    def fails_late(whole: Dict[str, torch.Tensor], strict: bool) -> None:
        nn.Module.load_state_dict(model, whole, strict)
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "load_state_dict", fails_late)
    with pytest.raises(LoadError, match="out of memory"):
        load_folded(model, path)
    assert state(model) == before and isinstance(model[1], nn.BatchNorm2d) and len(calls) == 2


def test_wrong_values_and_passed_by_biases_are_seen_by_check(tmp_path: Path, example: torch.Tensor) -> None:
    class PassesBy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(nn.functional.conv2d(x, self.conv.weight))

    model = touched(PassesBy())
    path = folded(model, tmp_path, example)
    with pytest.raises(CheckFailed, match="ANOTHER NETWORK.*drop-in"):
        check(model, path, example)
    other = touched(network())
    path = folded(other, tmp_path, example)
    tensors = load_file(path)
    tensors["0.bias"][3] = float("nan")
    save_file(tensors, path)
    with pytest.raises(CheckFailed, match="ANOTHER NETWORK: outputs differ by nan"):
        check(other, path, example)


def test_a_norm_with_an_activation_keeps_it(tmp_path: Path, example: torch.Tensor) -> None:
    layers = pytest.importorskip("timm.layers")
    model = touched(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), layers.BatchNormAct2d(8)))
    path = folded(model, tmp_path, example)
    assert check(model, path, example).ok
    assert [name for name, _ in load_folded(copy.deepcopy(model), path)[1].named_children()] == ["drop", "act"]


def test_a_norm_that_does_more_is_not_thrown_away(tmp_path: Path, example: torch.Tensor) -> None:
    class Clipped(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).clamp(-0.1, 0.1)

    model = touched(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), Clipped(8)))
    with pytest.raises(LoadError, match="Clipped does more than normalize"):
        load_folded(model, folded(model, tmp_path, example))
    assert isinstance(model[1], Clipped)


def test_wrappers_and_indices_load(tmp_path: Path, example: torch.Tensor) -> None:
    model = touched(network())
    path = folded(model, tmp_path, example)
    wrapped = load_folded(nn.DataParallel(network()), path)
    torch.testing.assert_close(wrapped.module(example), model(example), rtol=1e-4, atol=1e-5)
    tensors = load_file(path)
    (tmp_path / "sharded").mkdir()
    save_file({f"module.{key}": value for key, value in tensors.items()}, tmp_path / "sharded" / "a.safetensors")
    index = {"weight_map": {f"module.{key}": "a.safetensors" for key in tensors}}
    (tmp_path / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_folded(network(), tmp_path / "sharded")[0].bias is not None


def test_a_loaded_model_is_exported_and_quantized(tmp_path: Path, example: torch.Tensor) -> None:
    model = touched(network())
    loaded = load_folded(network(), folded(model, tmp_path, example))
    expected = model(example)
    exported = torch.export.export(loaded, (example,)).module()
    torch.testing.assert_close(exported(example), expected, rtol=1e-4, atol=1e-5)
    pytest.importorskip("onnx")
    torch.onnx.export(loaded, (example,), io.BytesIO(), dynamo=False)
    quantized = torch.ao.quantization.quantize_dynamic(loaded, {nn.Linear})
    assert quantized(example).shape == expected.shape
