"""make_plan: every trap that a live model can set, and the outputs after following its plan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import Plan, TraceError  # noqa: E402
from bnfold_gpu.torch import check, compare, make_plan  # noqa: E402

X = (2, 3, 9, 9)


def touched(model: nn.Module) -> nn.Module:
    """Statistics, scales and shifts far from those of a new norm."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        for name in ("running_mean", "running_var", "weight", "bias"):
            value = getattr(module, name, None)
            if isinstance(getattr(module, "running_var", None), torch.Tensor) and isinstance(value, torch.Tensor):
                drawn = torch.rand(value.shape, generator=generator) + 0.3
                value.data.copy_(drawn if name == "running_var" else drawn - 0.8)
    return model.eval()


class Net(nn.Module):
    """A network whose forward is given; every test states what is special in one place."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> Any:
        return self.run(self, x)


def net(forward: Callable[[Any, torch.Tensor], Any], **modules: nn.Module) -> nn.Module:
    modules = {"conv": nn.Conv2d(3, 8, 3, bias=False), "bn": nn.BatchNorm2d(8), **modules}
    return touched(Net(forward, **modules))


def planned(model: nn.Module, shape: Tuple[int, ...] = X, **options: Any) -> Plan:
    """The plan, the same from fake and from real tensors."""
    example = torch.randn(*shape)
    fake = make_plan(model, example, tensors="fake", **options)
    assert fake == make_plan(model, example, tensors="real", **options)
    return fake


def folds(model: nn.Module, tmp_path: Path, shape: Tuple[int, ...] = X, **options: Any) -> Dict[str, Optional[str]]:
    """What is folded into what, after the outputs were found to be the same."""
    plan = planned(model, shape, **options)
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    for style in ("strip", "drop-in"):
        path = tmp_path / f"{style}.safetensors"
        bnfold_gpu.fold(tmp_path / "model.safetensors", path, plan=plan, style=style, force=True)
        assert check(model, path, torch.randn(*shape), quiet=True).ok
    return {layer.norm: layer.weight for layer in plan.folds}


def code(model: nn.Module, norm: str = "bn", shape: Tuple[int, ...] = X) -> Optional[str]:
    layer = planned(model, shape)[norm]
    assert layer.action == "keep" and layer.reason
    return layer.reason_code


# ---- pairs ------------------------------------------------------------------------------------------------------------


PAIRS = [
    (net(lambda m, x: m.bn(m.conv(x))), X),
    (net(lambda m, x: m.bn(m.conv(x)).relu_()), X),
    (net(lambda m, x: m.bn(m.conv(x)), conv=nn.Conv2d(3, 8, 3)), X),
    (net(lambda m, x: m.bn(m.conv(x)), conv=nn.Conv1d(3, 8, 3), bn=nn.BatchNorm1d(8)), (2, 3, 9)),
    (net(lambda m, x: m.bn(m.conv(x)), conv=nn.Conv3d(3, 8, 3), bn=nn.BatchNorm3d(8)), (1, 3, 5, 5, 5)),
    (net(lambda m, x: m.bn(m.conv(x)), conv=nn.ConvTranspose2d(4, 8, 3, groups=2)), (2, 4, 5, 5)),
    (net(lambda m, x: m.bn(m.conv(x)), conv=nn.Linear(3, 8), bn=nn.BatchNorm1d(8)), (4, 3)),
    (net(lambda m, x: m.bn(m.conv(x).transpose(1, 2)), conv=nn.Linear(3, 8), bn=nn.BatchNorm1d(8)), (2, 5, 3)),
    (net(lambda m, x: m.bn(m.conv(x.mT).mT), conv=nn.Linear(3, 8), bn=nn.BatchNorm1d(8)), (2, 3, 5)),
    (net(lambda m, x: m.bn(m.conv(x).flatten(0, 1)), conv=nn.Linear(3, 8), bn=nn.BatchNorm1d(8)), (2, 5, 3)),
    (net(lambda m, x: m.bn(m.conv(x).flatten(2)), bn=nn.BatchNorm1d(8)), X),
    (net(lambda m, x: m.bn(m.conv(x).to(memory_format=torch.channels_last))), X),
    (net(lambda m, x: m.bn(m.conv(x).contiguous().clone())), X),
    (net(lambda m, x: m.bn(F.conv2d(x, m.conv.weight[:, :, None, None])), conv=nn.Linear(3, 8, bias=False)), X),
    (net(lambda m, x: m.bn(m.conv(x)), bn=nn.SyncBatchNorm(8)), X),
    (net(lambda m, x: m.bn(m.conv(x)), bn=nn.InstanceNorm2d(8, affine=True, track_running_stats=True)), X),
    (net(lambda m, x: m.bn(m.conv(x)), bn=nn.BatchNorm2d(8, eps=0.05, affine=False)), X),
    # One layer and its norm, run twice.
    (net(lambda m, x: m.bn(m.conv(x)) + m.bn(m.conv(x * 2))), X),
    # The norm's module is passed by.
    (
        net(
            lambda m, x: F.batch_norm(m.conv(x), m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, eps=1e-2)
        ),
        X,
    ),
]


@pytest.mark.filterwarnings("ignore::bnfold_gpu.BnfoldWarning")
@pytest.mark.parametrize("model, shape", PAIRS)
def test_a_layer_in_front_of_its_norm_is_found_and_the_outputs_stay(
    model: nn.Module, shape: Tuple[int, ...], tmp_path: Path
) -> None:
    plan = planned(model, shape)
    assert [layer.weight for layer in plan.folds] == ["conv.weight"], plan.kept
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    bnfold_gpu.fold(tmp_path / "model.safetensors", tmp_path / "folded.safetensors", plan=plan, style="drop-in", force=True)
    drop_in = copy.deepcopy(model)
    drop_in.load_state_dict(load_file(tmp_path / "folded.safetensors"))
    example = torch.randn(*shape)
    torch.testing.assert_close(drop_in(example), model(example), rtol=1e-4, atol=1e-5)


def test_eps_is_that_of_the_run() -> None:
    assert planned(net(lambda m, x: m.bn(m.conv(x)), bn=nn.BatchNorm2d(8, eps=0.02)))["bn"].eps == 0.02


def test_a_frozen_norm_of_small_operations_is_a_norm(tmp_path: Path) -> None:
    ops = pytest.importorskip("torchvision").ops
    model = net(lambda m, x: m.bn(m.conv(x)), bn=ops.FrozenBatchNorm2d(8, eps=1e-3))
    assert planned(model)["bn"].eps == 1e-3
    assert folds(model, tmp_path) == {"bn": "conv.weight"}


def test_a_norm_with_another_formula_is_none() -> None:
    class Halved(nn.InstanceNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 2

    model = net(lambda m, x: m.bn(m.conv(x)), bn=Halved(8, affine=True, track_running_stats=True))
    assert code(model) == "norm-read"


# ---- refusals ---------------------------------------------------------------------------------------------------------


def kept_by_attribute(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.kept = m.conv(x)
    return m.bn(m.kept)


def read_through_a_view(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    corner = y.transpose(2, 3)[:, :2, 1:, 1:]
    return m.bn(y).sum() + corner.sum()


def changed_through_a_view(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.view(-1)[:5].zero_()
    return m.bn(y)


def out_of_pytorch(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.detach().cpu().numpy().sum()
    return m.bn(y)


REFUSALS = [
    ("behind-operation", net(lambda m, x: m.bn(m.conv(x).relu()))),
    ("behind-operation", net(lambda m, x: m.bn(F.relu_(m.conv(x))))),
    ("behind-operation", net(lambda m, x: m.bn(F.max_pool2d(m.conv(x), 2)))),
    ("behind-operation", net(lambda m, x: m.bn(x.repeat(1, 3, 1, 1)[:, :8]))),
    ("behind-operation", net(lambda m, x: m.bn(m.conv(x) + 1))),
    ("behind-operation", net(changed_through_a_view)),
    ("read-twice", net(lambda m, x: m.bn(m.conv(x)) + m.conv.weight.sum())),
    ("read-twice", net(lambda m, x: (lambda y: m.bn(y) + y)(m.conv(x)))),
    ("read-twice", net(lambda m, x: (lambda y: (m.bn(y), y[:1]))(m.conv(x)))),
    ("read-twice", net(kept_by_attribute)),
    ("read-twice", net(read_through_a_view)),
    ("several-norms", net(lambda m, x: (lambda y: m.bn(y) + m.bn2(y))(m.conv(x)), bn2=nn.BatchNorm2d(8))),
    ("several-norms", net(lambda m, x: m.bn(m.conv(x)) + m.bn2(m.conv(x)), bn2=nn.BatchNorm2d(8))),
    ("several-norms", net(lambda m, x: m.bn(m.conv(x)) + m.conv(x))),
    ("several-layers", net(lambda m, x: m.bn(m.conv(x)) + m.bn(m.conv2(x)), conv2=nn.Conv2d(3, 8, 3))),
    ("several-inputs", net(lambda m, x: m.bn(torch.cat([m.conv(x), m.conv2(x)], 1)), bn=nn.BatchNorm2d(16), conv2=nn.Conv2d(3, 8, 3))),
    ("several-inputs", net(lambda m, x: m.bn(F.pad(m.conv(x), (1, 1, 1, 1))))),
    ("other-channels", net(lambda m, x: m.bn(m.conv(x)[:, :4]), bn=nn.BatchNorm2d(4))),
    ("other-channels", net(lambda m, x: m.bn(m.conv(x).flip(1)))),
    ("other-channels", net(lambda m, x: m.bn(F.channel_shuffle(m.conv(x), 2)))),
    ("other-channels", net(lambda m, x: m.bn(m.conv(x).transpose(1, 2)), conv=nn.Conv2d(3, 7, 3), bn=nn.BatchNorm2d(7))),
    ("behind-norm", net(lambda m, x: m.bn(m.bn2(m.conv(x))), bn2=nn.BatchNorm2d(8))),
    ("computed", net(lambda m, x: m.bn(F.conv2d(x, m.conv.weight * 2)))),
    ("computed", net(lambda m, x: m.bn(F.conv2d(x, m.conv.weight)), conv=nn.Conv2d(3, 8, 3))),
    ("not-run", net(lambda m, x: m.conv(x))),
    ("norm-read", net(lambda m, x: m.bn(m.conv(x)) * m.bn.weight.mean())),
    ("batch-statistics", net(lambda m, x: F.batch_norm(m.conv(x), m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, True))),
    ("computed", net(lambda m, x: m.bn(m.conv(x)), conv=nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)))),
]


@pytest.mark.parametrize("expected, model", REFUSALS)
def test_what_is_not_proven_stays_with_its_reason(expected: str, model: nn.Module) -> None:
    assert code(model) == expected


def test_elements_that_leave_pytorch_have_a_reader() -> None:
    model = net(out_of_pytorch)
    assert make_plan(model, torch.randn(*X))["bn"].reason_code == "read-twice"


def test_a_weight_that_is_stored_transposed_is_refused() -> None:
    model = net(lambda m, x: m.bn(x @ m.conv.weight), conv=nn.Linear(8, 8, bias=False), bn=nn.BatchNorm1d(8))
    layer = planned(model, (4, 8))["bn"]
    assert (layer.action, layer.reason_code) == ("keep", "computed") and "stored transposed" in str(layer.reason)


def test_tied_weights_are_refused_unless_one_name_is_stored() -> None:
    model = net(lambda m, x: m.bn(m.conv(x)))
    model.again = model.conv
    assert code(model) == "aliased"
    names = [name for name in model.state_dict() if not name.startswith("again")]
    assert make_plan(model, torch.randn(*X), checkpoint=names)["bn"].weight == "conv.weight"


def test_what_could_be_folded_otherwise_is_said() -> None:
    model = net(lambda m, x: m.after(m.bn(m.conv(x).relu())), after=nn.Conv2d(8, 4, 1))
    assert "it could be folded forward, into after.weight" in str(planned(model)["bn"].reason)
    padded = net(lambda m, x: m.after(m.bn(m.conv(x).relu())), after=nn.Conv2d(8, 4, 3, padding=1))
    assert "forward" not in str(planned(padded)["bn"].reason)
    both = net(
        lambda m, x: m.bn(torch.cat([m.conv(x), m.conv2(x)], 1)), bn=nn.BatchNorm2d(12), conv2=nn.Conv2d(3, 4, 3)
    )
    assert "conv.weight (channels 0 to 8), conv2.weight (channels 8 to 12)" in str(planned(both)["bn"].reason)


# ---- models -----------------------------------------------------------------------------------------------------------


def test_a_model_that_looks_at_elements_is_run_with_real_ones() -> None:
    model = net(lambda m, x: m.bn(m.conv(x)) if x.sum() > -1e9 else x)
    with pytest.raises(TraceError, match="with fake tensors"):
        make_plan(model, torch.randn(*X), tensors="fake")
    assert make_plan(model, torch.randn(*X))["bn"].is_fold


def test_what_a_model_keeps_from_a_run_holds_no_fake_tensors() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        # As models do that prepare a table once for each size of input.
        if "table" not in self.kept:
            self.kept["table"] = torch.arange(8.0).view(1, 8, 1, 1)
        return self.bn(self.conv(x)) + self.kept["table"]

    model = net(forward)
    model.kept = {}
    assert [layer.norm for layer in make_plan(model, torch.randn(X)).folds] == ["bn"]
    assert torch.isfinite(model(torch.randn(X))).all()
    assert float(model.kept["table"].sum()) == 28.0


def test_what_a_model_kept_from_a_run_before_is_no_obstacle() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.conv(x)
        return self.bn(self.seen)

    model = net(forward)
    model(torch.randn(*X))
    assert not model.seen.is_leaf, "test is broken: it can be copied"
    assert make_plan(model, torch.randn(*X), tensors="fake")["bn"].reason_code == "read-twice"


def test_a_model_without_weights_is_planned() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        plan = make_plan(model, torch.randn(*X))
    assert plan["1"].weight == "0.weight"


def test_wrappers_keep_their_prefix_and_modes_are_given_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout())
    model[2].eval()
    assert make_plan(nn.DataParallel(model), torch.randn(*X))["module.1"].weight == "module.0.weight"
    assert make_plan(torch.compile(model), torch.randn(*X))["_orig_mod.1"].weight == "_orig_mod.0.weight"
    assert [module.training for module in model] == [True, True, False]


def test_scripted_and_lazy_models_are_followed() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval())
    assert make_plan(scripted, torch.randn(*X))["1"].weight == "0.weight"
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d())
    assert make_plan(lazy, torch.randn(*X))["1"].weight == "0.weight"


def test_names_of_the_checkpoint_are_those_of_the_plan() -> None:
    model = net(lambda m, x: m.bn(m.conv(x)))
    plan = make_plan(model, torch.randn(*X), state_dict_names=lambda name: f"net.{name}")
    assert plan["net.bn"].weight == "net.conv.weight"


def test_what_cannot_be_followed_is_an_error() -> None:
    model = net(lambda m, x: m.bn(m.conv(x)))
    with pytest.raises(TraceError, match="does not run with these inputs: with fake tensors: .*; with real tensors"):
        make_plan(model, torch.randn(2, 5, 9, 9))
    with pytest.raises(TraceError, match="no norm with running statistics"):
        make_plan(nn.Linear(3, 3), torch.randn(1, 3))
    assert not model.training


def test_contradictions_are_printed_first() -> None:
    traced = planned(net(lambda m, x: (lambda y: m.bn(y) + y)(m.conv(x))))
    wrong = Plan(traced.layers).fold("bn", "conv.weight", "conv")
    found = compare(wrong, traced)
    assert [one.norm for one in found.contradictions] == ["bn"]
    assert str(found).startswith("CONTRADICTION: bn: planned conv.weight as conv; traced stays: conv.weight feeds it")
    right = planned(net(lambda m, x: m.bn(m.conv(x))))
    assert compare(right, right).same == ("bn",) and compare(right.keep("bn"), right).added == ("bn",)
    assert compare(right.with_eps("bn", 1e-3), right).other_eps
