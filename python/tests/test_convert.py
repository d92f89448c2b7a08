"""convert: files of PyTorch, folders, the way back, the command line, and files that must be refused."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, load_model, save_file, save_model  # noqa: E402
from torch import nn  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import (  # noqa: E402
    Conversions,
    Converted,
    ConvertError,
    ConvertFailed,
    Layer,
    Plan,
    SeveralStateDicts,
    UnsafeFile,
)
from bnfold_gpu.torch import load_folded, make_plan  # noqa: E402

from .conftest import ROOT  # noqa: E402
from .test_trace import touched  # noqa: E402


class Tied(nn.Module):
    """Two norms, and a head whose weight has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn2(self.conv2(self.bn(self.conv(x)).relu()))
        return self.second(self.first(x.mean((2, 3))))


@pytest.fixture
def model() -> nn.Module:
    # Weights of another memory order than the shape's, as training in channels_last leaves them.
    return touched(Tied()).to(memory_format=torch.channels_last).eval()


@pytest.fixture
def example() -> torch.Tensor:
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def one(*arguments: Any, **options: Any) -> Converted:
    result = bnfold_gpu.convert(*arguments, **options)
    assert isinstance(result, Converted)
    return result


def same(path: Path, state: Dict[str, torch.Tensor]) -> bool:
    tensors = load_file(path)
    return tensors.keys() == state.keys() and all(torch.equal(tensors[name], state[name]) for name in state)


def untied(model: nn.Module) -> Dict[str, torch.Tensor]:
    state = model.state_dict()
    del state["second.weight"]
    return state


@pytest.mark.parametrize("new", [True, False])
def test_a_state_dict_is_converted_folded_and_loaded(new: bool, model: nn.Module, example: torch.Tensor, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=new)
    result = one(tmp_path / "net.pth")
    assert result.output == str(tmp_path / "net.safetensors") and result.aliases == {"second.weight": "first.weight"}
    assert same(tmp_path / "net.safetensors", untied(model))
    plan = make_plan(model, example)
    assert len(plan.folds) == 2
    bnfold_gpu.fold(result.output, tmp_path / "folded.safetensors", plan=plan)
    folded = load_folded(Tied(), tmp_path / "folded.safetensors")
    torch.testing.assert_close(folded(example), model(example), rtol=1e-5, atol=1e-5)


def test_ties_are_recorded_as_the_library_does(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "net.pth")
    one(tmp_path / "net.pth")
    save_model(model, str(tmp_path / "library.safetensors"))
    metadata = []
    for name in ("net", "library"):
        with safe_open(tmp_path / f"{name}.safetensors", framework="pt") as file:
            metadata.append(file.metadata())
    assert metadata[0] == {"format": "pt", **metadata[1]} == {"format": "pt", "second.weight": "first.weight"}
    again = Tied()
    load_model(again, tmp_path / "net.safetensors")
    assert torch.equal(again.second.weight, model.second.weight)


def test_the_planner_leaves_a_tied_weight_alone(tmp_path: Path) -> None:
    model = touched(nn.ModuleDict({"a": network(), "b": network()}))
    model["b"][0].weight = model["a"][0].weight
    torch.save(model.state_dict(), tmp_path / "net.pth")
    plan = bnfold_gpu.plan(one(tmp_path / "net.pth").output)
    assert not plan.folds and plan["a.1"].reason_code == "aliased"


@pytest.mark.parametrize("place, name", [(1, "weight"), (1, "bias"), (0, "bias"), (1, "running_mean")])
def test_what_stands_beside_a_tied_vector_is_left_alone(place: int, name: str, tmp_path: Path) -> None:
    model = touched(nn.ModuleDict({key: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)) for key in ("a", "b", "c")}))
    setattr(model["b"][place], name, getattr(model["a"][place], name))
    torch.save(model.state_dict(), tmp_path / "net.pth")
    result = one(tmp_path / "net.pth")
    assert result.aliases == {f"b.{place}.{name}": f"a.{place}.{name}"}
    pairs = {key: Layer(f"{key}.1", "fold", weight=f"{key}.0.weight", op="conv") for key in ("a", "b", "c")}
    for key in ("a", "b"):
        with pytest.raises(bnfold_gpu.ModelFailed, match="other names|is missing"):
            bnfold_gpu.plan(result.output, plan=Plan((pairs[key],)))
    assert len(bnfold_gpu.plan(result.output, plan=Plan((pairs["c"],))).folds) == 1
    again = torch.load(one(result.output, tmp_path / "again.pth").output, weights_only=True)
    assert again.keys() == model.state_dict().keys()


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    # Slices beside each other, as recurrent layers have them, are no matter.
    torch.save({"a": whole[:1], "b": whole[1:]}, tmp_path / "beside.pt")
    assert one(tmp_path / "beside.pt").tensors == 2
    torch.save({"whole": whole, "part": whole[1:]}, tmp_path / "over.pt")
    with pytest.raises(ConvertError, match="whole and part share a part of their memory"):
        bnfold_gpu.convert(tmp_path / "over.pt")
    assert not (tmp_path / "over.safetensors").exists()
    assert one(tmp_path / "over.pt", tmp_path / "left.safetensors", leave_out="part").left_out == ("part",)
    one(tmp_path / "over.pt", untie=True)
    assert same(tmp_path / "over.safetensors", {"whole": whole, "part": whole[1:]})
    torch.save({"wide": torch.ones(1, 1).expand(3, 4)}, tmp_path / "wide.pt")
    assert one(tmp_path / "wide.pt").tensors == 1 and same(tmp_path / "wide.safetensors", {"wide": torch.ones(3, 4)})


def trained(model: nn.Module) -> Dict[str, Any]:
    """What training scripts save beside the weights."""
    optimizer = torch.optim.Adam(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "loss": torch.tensor(0.5),
        "optimizer": optimizer.state_dict(),
        # Sharded training names what an optimizer keeps.
        "named": {"state": {"conv.weight": {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "rng": {"torch": torch.get_rng_state()},
        "lr_schedulers": [{"last": torch.ones(2)}],
    }


@pytest.mark.parametrize("place", ["state_dict", "model", "ema", "anything", "module/inner"])
def test_the_only_state_dict_is_taken(place: str, model: nn.Module, tmp_path: Path) -> None:
    nested: Any = model.state_dict()
    for key in reversed(place.split("/")):
        nested = {key: nested}
    torch.save({**trained(model), **nested}, tmp_path / "last.ckpt")
    result = one(tmp_path / "last.ckpt")
    assert result.key == place and {"epoch", "optimizer", "args"} <= set(result.left_out)
    assert load_file(tmp_path / "last.safetensors").keys() == untied(model).keys()


def test_of_several_state_dicts_none_is_guessed(model: nn.Module, tmp_path: Path) -> None:
    ema = {name: tensor.clone() for name, tensor in untied(model).items()}
    torch.save({**trained(model), "state_dict": untied(model), "state_dict_ema": ema}, tmp_path / "last.ckpt")
    with pytest.raises(SeveralStateDicts, match=r"key= \(--key\) among state_dict \(1\d tensors\), state_dict_ema") as failed:
        bnfold_gpu.convert(tmp_path / "last.ckpt")
    assert failed.value.keys == ("state_dict", "state_dict_ema") and os.listdir(tmp_path) == ["last.ckpt"]
    assert one(tmp_path / "last.ckpt", key="state_dict_ema").key == "state_dict_ema"
    assert same(tmp_path / "last.safetensors", ema)
    with pytest.raises(SeveralStateDicts, match="no entry 'model' holds tensors"):
        bnfold_gpu.convert(tmp_path / "last.ckpt", tmp_path / "b.safetensors", key="model")
    torch.save(trained(model), tmp_path / "optimizer.pt")
    with pytest.raises(SeveralStateDicts, match="nothing in it looks like weights"):
        bnfold_gpu.convert(tmp_path / "optimizer.pt")
    torch.save({"weight": torch.ones(3), "head": {"weight": torch.ones(3)}}, tmp_path / "both.pt")
    with pytest.raises(SeveralStateDicts, match=r"\(the top level\) \(1 tensors\), head"):
        bnfold_gpu.convert(tmp_path / "both.pt")
    assert one(tmp_path / "both.pt", key="").left_out == ("head",)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("new", [True, False])
def test_no_code_of_a_file_is_run(new: bool, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": model.state_dict(), "hook": Evil()}, "evil.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(UnsafeFile, match=r"evil.pt: it holds objects of Python .*mkdir") as failed:
        bnfold_gpu.convert("evil.pt")
    assert "mkdir" in failed.value.found[0] and sorted(os.listdir()) == ["evil.pt"]


def test_a_whole_module_is_refused_with_the_way_to_its_state_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = touched(network())
    torch.save({"model": model, "epoch": 1}, "whole.pt")
    with pytest.raises(UnsafeFile, match="torch.nn.modules.batchnorm.BatchNorm2d") as failed:
        bnfold_gpu.convert("whole.pt")
    # What is said has to work.
    lines = [line.strip() for line in str(failed.value).splitlines() if line.startswith("    ")]
    exec("\n".join(lines), {})
    one("whole.state.pth")
    assert same(Path("whole.state.safetensors"), model.state_dict())


@pytest.mark.parametrize("trace", [True, False])
def test_torchscript_is_read_without_being_run(trace: bool, model: nn.Module, example: torch.Tensor, tmp_path: Path) -> None:
    script = torch.jit.trace(model, example) if trace else torch.jit.script(model)
    script.save(str(tmp_path / "net.pt"))
    result = one(tmp_path / "net.pt")
    assert result.kind == "a TorchScript archive" and result.aliases == {"second.weight": "first.weight"}
    assert same(tmp_path / "net.safetensors", untied(model))
    torch.jit.freeze(script.eval()).save(str(tmp_path / "frozen.pt"))
    with pytest.raises(ConvertError, match="after torch.jit.freeze"):
        bnfold_gpu.convert(tmp_path / "frozen.pt")


def test_torchscript_that_runs_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pt", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"a": Evil()}, 2))
        archive.writestr("evil/constants.pkl", pickle.dumps(()))
    with pytest.raises(UnsafeFile, match="it needs .*mkdir"):
        bnfold_gpu.convert("evil.pt")
    assert os.listdir() == ["evil.pt"]


def test_types_survive_and_what_has_none_is_named(tmp_path: Path) -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn)
    state = {str(kind): torch.tensor([1.0, 0.0]).to(kind) for kind in kinds}
    state["nan"] = torch.tensor([float("nan"), -0.0])
    state["none"], state["scalar"] = torch.zeros(0, 3), torch.tensor(2.0)
    torch.save(state, tmp_path / "a.pt")
    one(tmp_path / "a.pt")
    again = load_file(tmp_path / "a.safetensors")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in again.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in state.items()
    }
    assert all(torch.equal(again[name].view(torch.uint8), state[name].view(torch.uint8)) for name in map(str, kinds))
    state["wave"], state["sparse"] = torch.ones(2, dtype=torch.complex128), torch.eye(3).to_sparse()
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(ConvertError, match="no type for: torch.complex128: wave; torch.sparse_coo: sparse"):
        bnfold_gpu.convert(tmp_path / "b.pt")
    assert one(tmp_path / "b.pt", leave_out=["wave", "spa*"]).tensors == len(state) - 2
    with pytest.raises(ConvertError, match=r"leave_out='typo\*' matches no tensor"):
        bnfold_gpu.convert(tmp_path / "b.pt", leave_out="typo*", force=True)


def test_nothing_is_replaced_or_left_half_done(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(model.state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.safetensors").write_text("mine")
    with pytest.raises(ConvertError, match=r"net.safetensors exists; .*force=True"):
        bnfold_gpu.convert(tmp_path / "net.pth")
    assert (tmp_path / "net.safetensors").read_text() == "mine"
    one(tmp_path / "net.pth", force=True)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "net.safetensors").stat().st_mode) == 0o666 & ~umask
    before = (tmp_path / "net.safetensors").read_bytes()

    def fails(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space"):
        bnfold_gpu.convert(tmp_path / "net.pth", force=True)
    assert (tmp_path / "net.safetensors").read_bytes() == before and len(os.listdir(tmp_path)) == 2


def test_a_result_that_appears_in_the_meantime_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pth")
    sync = os.fsync

    def meanwhile(file: int) -> None:
        (tmp_path / "net.safetensors").write_text("another's")
        sync(file)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(ConvertError, match="exists"):
        bnfold_gpu.convert(tmp_path / "net.pth")
    assert (tmp_path / "net.safetensors").read_text() == "another's" and len(os.listdir(tmp_path)) == 2


def test_a_written_file_that_reads_back_otherwise_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch as library

    torch.save({"a": torch.ones(2)}, tmp_path / "net.pth")
    save = library.save_file
    monkeypatch.setattr(library, "save_file", lambda found, *rest: save({k: v + 1 for k, v in found.items()}, *rest))
    with pytest.raises(ConvertError, match="a reads back otherwise"):
        bnfold_gpu.convert(tmp_path / "net.pth")
    assert os.listdir(tmp_path) == ["net.pth"]


def test_the_way_back_restores_aliases(model: nn.Module, example: torch.Tensor, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "net.pth")
    one(tmp_path / "net.pth")
    result = one(tmp_path / "net.safetensors", tmp_path / "again.pth")
    assert result.aliases == {"second.weight": "first.weight"}
    state = torch.load(tmp_path / "again.pth", weights_only=True)
    assert state["second.weight"].data_ptr() == state["first.weight"].data_ptr()
    again = Tied().eval()
    again.load_state_dict(state, strict=True)
    torch.testing.assert_close(again(example), model(example), rtol=1e-5, atol=1e-6)
    with pytest.raises(ConvertError, match="net.pth exists"):
        bnfold_gpu.convert(tmp_path / "net.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "net.safetensors").read_bytes()[:-10])
    with pytest.raises(ConvertError, match="cut.safetensors: it cannot be read"):
        bnfold_gpu.convert(tmp_path / "cut.safetensors")
    assert not (tmp_path / "cut.pth").exists()


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.pt", b"PK\x03\x04 cut off", "damaged or cut off"),
        ("a.pt", b"<!DOCTYPE html>", "nothing that can be converted"),
        ("a.pt", b"\x80\x02}q\x00X\x06\x00\x00\x00weightq\x01K\x01s.", "PyTorch cannot read it"),
        ("a.onnx", b"no graph", "no ONNX graph"),
        ("a.msgpack", b"\x82\xa6params", "no MessagePack"),
        ("a.msgpack", b"\x93\1\2\3", "a map of variables is expected"),
        ("a.h5", b"\x89HDF\r\n\x1a\n cut off", "no weights of Keras"),
        ("a.npz", b"", "nothing that can be converted"),
    ],
)
def test_what_is_no_checkpoint_is_refused(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConvertError, match=words):
        bnfold_gpu.convert(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("cut", [10, 300, 2000])
def test_a_file_that_is_cut_off_is_refused(cut: int, model: nn.Module, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    (tmp_path / "net.pth").write_bytes(buffer.getvalue()[:-cut])
    with pytest.raises(ConvertError, match="net.pth"):
        bnfold_gpu.convert(tmp_path / "net.pth")
    assert os.listdir(tmp_path) == ["net.pth"]


def test_arguments_that_mean_nothing_are_refused(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "net.pth")
    for output, options, words in [
        ("out.bin", {}, r"\*.safetensors"),
        ("out.safetensors", {"to": "onnx"}, "'safetensors' or 'pth'"),
        ("none/out.safetensors", {}, "no such folder"),
        ("out.pth", {"to": "pth"}, "only a .safetensors file"),
        ("out.safetensors", {"format": "mlx"}, "always of one framework"),
    ]:
        with pytest.raises(ConvertError, match=words):
            bnfold_gpu.convert(tmp_path / "net.pth", tmp_path / output, **options)  # type: ignore[arg-type]
    with pytest.raises(ConvertError, match="cannot be read"):
        bnfold_gpu.convert(tmp_path / "absent.pth")
    assert os.listdir(tmp_path) == ["net.pth"]


def zoo(folder: Path, model: nn.Module) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".git").mkdir()
    torch.save(model.state_dict(), folder / "a.pth")
    torch.save({"state_dict": model.state_dict()}, folder / "deep" / "er" / "b.ckpt")
    torch.save(model.state_dict(), folder / ".git" / "c.pth")
    (folder / "deep" / "broken.bin").write_text("not a checkpoint")
    (folder / "readme.txt").write_text("about")
    return folder


def test_one_bad_file_of_a_folder_stops_no_other(model: nn.Module, tmp_path: Path) -> None:
    models = zoo(tmp_path / "zoo", model)
    with pytest.raises(ConvertFailed, match="1 of 3 files were not converted:\n.*broken.bin") as failed:
        bnfold_gpu.convert(models, tmp_path / "out")
    results = failed.value.conversions
    assert [one.output for one in results.converted] == [
        str(tmp_path / "out" / name) for name in ("a.safetensors", os.path.join("deep", "er", "b.safetensors"))
    ]
    again = bnfold_gpu.convert(models, tmp_path / "out", raise_failures=False)
    assert isinstance(again, Conversions) and not again.converted and "exists" in again.failed[0].error
    back = bnfold_gpu.convert(tmp_path / "out", tmp_path / "back", to="pth")
    assert isinstance(back, Conversions) and len(back.converted) == 2
    assert torch.load(tmp_path / "back" / "deep" / "er" / "b.pth", weights_only=True).keys() == model.state_dict().keys()


def test_files_of_one_name_are_not_mixed_up(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "a.pth")
    torch.save(model.state_dict(), tmp_path / "a.bin")
    with pytest.raises(ConvertFailed, match="would become a.safetensors as well"):
        bnfold_gpu.convert(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvertError, match="no file in it"):
        bnfold_gpu.convert(tmp_path / "empty")


def command(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    words: List[str] = [sys.executable, "-W", "ignore", "-m", "bnfold_gpu", "convert", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


def test_the_command_that_the_program_names(model: nn.Module, tmp_path: Path) -> None:
    models = zoo(tmp_path / "zoo", model)
    torch.save({"a": model.state_dict(), "b": {"x": torch.ones(1)}}, tmp_path / "two.pt")
    # The program says what to do about the file, and that has to work.
    with pytest.raises(bnfold_gpu.ModelFailed) as failed:
        bnfold_gpu.plan(models / "a.pth")
    assert "python -m bnfold_gpu convert FILE" in str(failed.value)
    made = command(models / "a.pth", tmp_path / "a.safetensors")
    assert made.returncode == 0 and "a PyTorch checkpoint, 14 tensors, names of tied tensors: 1" in made.stdout, made
    assert len(bnfold_gpu.plan(tmp_path / "a.safetensors").folds) == 2
    several = command(tmp_path / "two.pt")
    assert several.returncode == 1 and several.stderr.startswith("error: ") and "--key" in several.stderr
    assert command(tmp_path / "two.pt", "--key", "a", "--leave-out", "second*").returncode == 0
    folder = command(models, tmp_path / "out")
    assert folder.returncode == 1 and "2 converted, 1 failed" in folder.stdout and "broken.bin" in folder.stderr
    assert command("--no-such-option").returncode == 2


def test_the_result_is_what_the_library_writes(tmp_path: Path) -> None:
    state = {"b": torch.randn(3, 4), "a": torch.randn(2).half()}
    torch.save(state, tmp_path / "net.pt")
    one(tmp_path / "net.pt")
    save_file(state, tmp_path / "library.safetensors", {"format": "pt"})
    assert (tmp_path / "net.safetensors").read_bytes() == (tmp_path / "library.safetensors").read_bytes()


def sharded(folder: Path, model: nn.Module) -> Path:
    """As transformers wrote models before .safetensors."""
    folder.mkdir(exist_ok=True)
    state = model.state_dict()
    parts = {f"pytorch_model-0000{part + 1}-of-00002.bin": list(state)[part::2] for part in (0, 1)}
    for file, names in parts.items():
        torch.save({name: state[name].clone() for name in names}, folder / file)
    weight_map = {name: file for file, names in parts.items() for name in names}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder / "pytorch_model.bin.index.json"


def test_a_sharded_model_stays_one_model(example: torch.Tensor, tmp_path: Path) -> None:
    model = touched(network()).eval()
    index = sharded(tmp_path / "zoo", model)
    result = bnfold_gpu.convert(tmp_path / "zoo", tmp_path / "out")
    assert isinstance(result, Conversions) and [made.tensors for made in result.converted] == [6]
    shards = [f"pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    assert sorted(os.listdir(tmp_path / "out")) == [*shards, "pytorch_model.safetensors.index.json"]
    assert len(bnfold_gpu.plan(tmp_path / "out" / "pytorch_model.safetensors.index.json").folds) == 1
    bnfold_gpu.fold(tmp_path / "out" / "pytorch_model.safetensors.index.json", tmp_path / "folded", eps=1e-5)
    folded = load_folded(network(), tmp_path / "folded")
    torch.testing.assert_close(folded(example), model(example), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConvertError, match="exists"):
        bnfold_gpu.convert(index, tmp_path / "out")
    bnfold_gpu.convert(index, tmp_path / "out", force=True)
    with pytest.raises(ConvertError, match="no such folder"):
        bnfold_gpu.convert(index, tmp_path / "absent/x.safetensors.index.json")
    with pytest.raises(ConvertError, match="a folder, or"):
        bnfold_gpu.convert(index, tmp_path / "one.safetensors")


@pytest.mark.parametrize("fault", ["absent", "broken", "other", "outside", "json"])
def test_a_sharded_model_is_converted_whole_or_not_at_all(fault: str, tmp_path: Path) -> None:
    index = sharded(tmp_path / "zoo", touched(network()))
    second = tmp_path / "zoo" / "pytorch_model-00002-of-00002.bin"
    if fault == "absent":
        second.unlink()
    elif fault == "broken":
        second.write_bytes(second.read_bytes()[:-100])
    elif fault == "other":
        torch.save({"other": torch.ones(2)}, second)
    elif fault == "outside":
        index.write_text(json.dumps({"weight_map": {"a": "../pytorch_model.bin"}}))
    else:
        index.write_text('{"weight_map": [1]}')
    (tmp_path / "out").mkdir()
    with pytest.raises(ConvertError, match="pytorch_model"):
        bnfold_gpu.convert(index, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
