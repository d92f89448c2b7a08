"""convert: Keras, ONNX, Flax and NumPy, from a network through a fold to the same outputs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")
onnx = pytest.importorskip("onnx")
pytest.importorskip("msgpack")
from safetensors.numpy import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import BnfoldWarning, Converted, ConvertError, Layer, Plan  # noqa: E402
from bnfold_gpu.torch import load_folded  # noqa: E402

from .test_trace import touched  # noqa: E402

DATA = Path(__file__).parent / "data"
layers = keras.layers


def converted(path: Path, **options: Any) -> Dict[str, Any]:
    result = bnfold_gpu.convert(path, path.parent / f"{path.name}.safetensors", **options)
    assert isinstance(result, Converted)
    return load_file(result.output)


def folded(path: Path, pairs: Dict[str, str], **options: Any) -> Dict[str, Any]:
    """What is left of a checkpoint after norms are folded into the weights, whose operation stands behind their names."""
    plan = Plan(tuple(Layer(norm, "fold", weight=where.split()[0], op=where.split()[1]) for norm, where in pairs.items()))
    if pairs:
        options["plan"] = plan
    report = bnfold_gpu.fold(f"{path}.safetensors", path.parent / "folded.safetensors", force=True, **options)
    assert isinstance(report, bnfold_gpu.Report) and report.layers.folded >= max(len(pairs), 1), report
    return load_file(path.parent / "folded.safetensors")


NESTED = {
    "stem_bn": "stem/kernel conv",
    "batch_normalization": "depthwise_conv2d/kernel depthwise",
    "batch_normalization_1": "sep/pointwise_kernel conv",
    "unit/bn": "unit/conv/kernel conv",
    "batch_normalization_2": "conv2d_transpose/kernel conv_transpose",
}
# Which variables the other two norms have, `.weights.h5` does not say.
CLEAR = {norm: NESTED[norm] for norm in ("stem_bn", "unit/bn", "batch_normalization_2")}


def nested() -> Any:
    """A functional model with a sequential one in it, layers of several kinds, norms without scale or shift."""
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(8, 3, use_bias=False, name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(y))
    y = layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3)(y))
    y = layers.BatchNormalization(center=False)(layers.SeparableConv2D(6, 3, use_bias=False, name="sep")(y))
    unit = [keras.Input((10, 10, 6)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="bn")]
    y = keras.Sequential(unit, name="unit")(y)
    y = layers.BatchNormalization()(layers.Conv2DTranspose(5, 2, use_bias=False)(y))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, name="a"),
            layers.BatchNormalization(name="b"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


class Own(keras.Model):
    """A model that is a class: layers are attributes, some of them in a list."""

    def __init__(self) -> None:
        super().__init__(name="own")
        self.conv, self.norm = layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization()
        self.blocks = [layers.Conv2D(4, 3), layers.BatchNormalization(name="last")]

    def call(self, x: Any) -> Any:
        x = self.norm(self.conv(x))
        for layer in self.blocks:
            x = layer(x)
        return x


def own() -> Any:
    model = Own()
    model(np.zeros((1, 16, 16, 3), "float32"))
    return model


def mobile() -> Any:
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=4)


def trained(build: Callable[[], Any]) -> Any:
    """A model whose norms have seen data."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    model, random = build(), np.random.default_rng(1)
    for weight in model.weights:
        low = 0.5 if weight.name in ("gamma", "moving_variance") else -1
        if weight.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight.assign(random.uniform(low, 2, weight.shape))
    return model


def stored(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (model.save_weights if path.name.endswith(".weights.h5") else model.save)(str(path))
    return path


@pytest.mark.parametrize("kind", ["net.keras", "net.h5", "net.weights.h5"])
@pytest.mark.parametrize(
    "build, pairs",
    [(nested, NESTED), (sequential, {"b": "a/kernel conv"}), (own, {"batch_normalization": "conv2d/kernel conv"}), (mobile, {})],
)
def test_keras_networks_compute_the_same(build: Callable[[], Any], pairs: Dict[str, str], kind: str, tmp_path: Path) -> None:
    model = trained(build)
    size = 32 if build is mobile else 16
    images = np.random.default_rng(2).normal(size=(2, size, size, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    path = stored(model, tmp_path / kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BnfoldWarning)
        tensors = converted(path)
    assert len(tensors) == len(model.weights)
    if build is nested and kind == "net.weights.h5":
        pairs = CLEAR
    # The older format has the name of the whole model in front of its layers.
    prefix = next((f"{model.name}/" for name in tensors if name.startswith(f"{model.name}/")), "")
    pairs = {prefix + norm: prefix + where for norm, where in pairs.items()}
    after = folded(path, pairs, eps=1e-3, style="drop-in", evidence="none")
    for weight in model.weights:
        name = next((name for name in after if name == weight.path or weight.path.endswith("/" + name)), None)
        assert name is not None or len(pairs) == len(CLEAR), (weight.path, sorted(after))
        if name is not None:
            weight.assign(after[name].reshape(weight.shape))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images, training=False)), expected, rtol=1e-5, atol=1e-5)


def test_variables_of_keras_that_nothing_names_keep_their_numbers(tmp_path: Path) -> None:
    path = stored(trained(nested), tmp_path / "net.weights.h5")
    with pytest.warns(BnfoldWarning, match="convert the .keras file, or these norms will not be folded: layers/batch_norm") as seen:
        result = bnfold_gpu.convert(path)
    assert [one.message.code for one in seen if isinstance(one.message, BnfoldWarning)] == ["unnamed-variables"]
    assert isinstance(result, Converted) and result.output == str(tmp_path / "net.safetensors")
    assert len(result.unnamed) == 6 and "norms whose variables have no names" in str(result)


def test_what_belongs_to_the_optimizer_is_left_out(tmp_path: Path) -> None:
    model = trained(sequential)
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 16, 16, 3)), np.zeros((2, 2)), verbose=0)
    for kind, name in [("net.keras", "optimizer"), ("net.h5", "optimizer_weights"), ("net.weights.h5", "optimizer")]:
        result = bnfold_gpu.convert(stored(model, tmp_path / kind), tmp_path / f"{kind}.safetensors")
        assert isinstance(result, Converted) and result.left_out == (name,) and result.tensors == len(model.weights)


def test_layers_of_other_libraries_are_not_taken_for_those_of_keras(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable(package="mine")
    class BatchNormalization(layers.Layer):
        """Four vectors, in an order of its own."""

        def build(self, shape: Any) -> None:
            for name in "abcd":
                self.add_weight(shape=(shape[-1],), name=name)

        def call(self, x: Any) -> Any:
            return x

    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(2, 1, name="conv"), BatchNormalization(name="norm")])
    tensors = converted(stored(model, tmp_path / "net.keras"))
    places = [f"layers/batch_normalization/vars/{number}" for number in range(4)]
    assert sorted(tensors) == ["conv/bias", "conv/kernel", *places]


def test_two_models_with_layers_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    def inner(name: str) -> Any:
        x = keras.Input((4, 4, 3))
        return keras.Model(x, layers.BatchNormalization(name="bn")(layers.Conv2D(3, 1, name="conv")(x)), name=name)

    x = keras.Input((4, 4, 3))
    model = keras.Model(x, inner("b")(inner("a")(x)))
    path = stored(model, tmp_path / "net.keras")
    tensors = converted(path)
    assert len(tensors) == 12 and "layers/functional_1/layers/batch_normalization/gamma" in tensors
    places = [f"layers/functional{number}/layers" for number in ("", "_1")]
    pairs = {f"{place}/batch_normalization": f"{place}/conv2d/kernel conv" for place in places}
    assert len(folded(path, pairs, eps=1e-3)) == 4


def test_names_that_do_not_fit_into_one_attribute_are_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"conv"], [b"bn"]
        variables = ("gamma", "beta", "moving_mean", "moving_variance")
        names = {"conv": ["conv/kernel:0"], "bn": [f"bn/{name}:0" for name in variables]}
        for layer, own in names.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in own]
            for name in own:
                group[name] = np.ones((1, 1, 3, 4) if layer == "conv" else 4, "float32")
    assert sorted(converted(tmp_path / "old.h5")) == sorted([*names["conv"], *names["bn"]])
    assert sorted(folded(tmp_path / "old.h5", {}, eps=1e-3)) == ["conv/bias:0", "conv/kernel:0"]


class Merged(nn.Module):
    """Tensors of equal values, which an exporter merges: scales, shifts, and the biases of two layers."""

    def __init__(self) -> None:
        super().__init__()
        units: List[nn.Module] = []
        for _ in range(3):
            units += [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
        self.units, self.head = nn.Sequential(*units), nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.units(x).mean((2, 3)))


def merged() -> Merged:
    model = touched(Merged())
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(model.units[4], name).copy_(getattr(model.units[1], name))
            model.units[3].bias.copy_(model.units[0].bias)
    return model


def exported(model: nn.Module, example: torch.Tensor, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keep = torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(model.eval(), (example,), str(path), training=keep, do_constant_folding=False, dynamo=False)
    return path


def test_an_onnx_export_computes_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    example = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    model = merged()
    path = exported(model, example, tmp_path / "net.onnx")
    names = {one.name for one in onnx.load(str(path)).graph.initializer}
    assert not {"units.4.weight", "units.4.bias", "units.3.bias"} & names, "the exporter merges what this test is about"
    tensors = converted(path)
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    assert tensors.keys() == state.keys() and all(np.array_equal(tensors[name], state[name]) for name in state)
    folded(path, {f"units.{at + 1}": f"units.{at}.weight conv" for at in (0, 3, 6)}, eps=1e-5)
    loaded = load_folded(Merged(), tmp_path / "folded.safetensors")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: example.numpy()})[0]
    np.testing.assert_allclose(loaded(example).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def graph(nodes: List[Any], tensors: Dict[str, Any], path: Path) -> Path:
    helper = onnx.helper
    values = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    ends = [[helper.make_tensor_value_info(name, 1, None)] for name in ("x", "y")]
    made = helper.make_graph(nodes, "g", *ends, values)
    onnx.save(helper.make_model(made), str(path))
    return path


def norm(channels: int = 4) -> Dict[str, Any]:
    random = np.random.default_rng(1)
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"n.{name}": random.uniform(0.5, 2, channels).astype("float32") for name in names}


def test_names_of_a_graph_that_say_something_wrong_do_no_harm(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    kernel = np.random.default_rng(2).normal(size=(4, 4, 1, 1)).astype("float32")
    reads = ["h", "n.weight", "n.bias", "n.running_mean", "n.running_var"]
    conv, last = make("Conv", ["x", "c.weight"], ["h"]), make("BatchNormalization", reads, ["y"])
    whole = {"c.weight": kernel, **norm()}
    assert len(converted(graph([conv, last], whole, tmp_path / "right.onnx"))) == 5
    assert len(folded(tmp_path / "right.onnx", {}, eps=1e-5)) == 2
    scale = make("Mul", ["n.weight", "n.bias"], ["s"])
    bias = make("Mul", ["n.weight", "n.bias"], ["b"])
    cases = {
        # The scale is computed; by its tensors the norm has none.
        "computed": ([conv, scale, make("BatchNormalization", ["h", "s", *reads[2:]], ["y"])], whole),
        # The weight has a second reader.
        "shared": ([conv, last, make("Conv", ["x", "c.weight"], ["z"])], whole),
        # The layer has a bias that is not stored.
        "biased": ([bias, make("Conv", ["x", "c.weight", "b"], ["h"]), last], whole),
        # The norm reads another one's statistics.
        "foreign": (
            [conv, make("BatchNormalization", [*reads[:4], "m.running_var"], ["y"])],
            {**whole, "m.running_var": whole["n.bias"]},
        ),
        # [in, out] under a name of [out, in].
        "matrix": ([make("MatMul", ["x", "c.weight"], ["h"]), last], {**whole, "c.weight": kernel[:, :, 0, 0]}),
    }
    for name, (nodes, tensors) in cases.items():
        path = graph(nodes, tensors, tmp_path / f"{name}.onnx")
        assert ("c.weight" in converted(path)) == (name != "matrix")
        plan = bnfold_gpu.plan(f"{path}.safetensors")
        assert not plan.folds, (name, plan.folds)


def forward(tensors: Dict[str, Any], images: Any, unit: Callable[[Any, int], Any]) -> Any:
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    for number in range(2):
        kernel = torch.from_numpy(tensors[f"params/Conv_{number}/kernel"]).permute(3, 2, 0, 1)
        x = nn.functional.conv2d(x, kernel, torch.from_numpy(tensors[f"params/Conv_{number}/bias"]))
        x = unit(x, number).relu()
    head = torch.from_numpy(tensors["params/Dense_0/kernel"].astype("float32"))
    return x.mean((2, 3)) @ head + torch.from_numpy(tensors["params/Dense_0/bias"].astype("float32"))


def test_variables_of_flax_compute_the_same(tmp_path: Path) -> None:
    path = tmp_path / "net.msgpack"
    path.write_bytes((DATA / "flax.msgpack").read_bytes())
    expected = np.load(DATA / "flax.npz")
    tensors = converted(path)
    assert tensors["params/Dense_0/kernel"].dtype.name == "bfloat16" and tensors["batch_stats/BatchNorm_1/var"].shape == (8,)
    result = bnfold_gpu.convert(path)
    assert isinstance(result, Converted) and result.left_out == ("step", "opt_state")
    after = folded(path, {f"BatchNorm_{at}": f"params/Conv_{at}/kernel conv" for at in (0, 1)}, eps=1e-5)
    layers_left = ("Conv_0", "Conv_1", "Dense_0")
    assert sorted(after) == [f"params/{layer}/{name}" for layer in layers_left for name in ("bias", "kernel")]
    outputs = forward(after, expected["images"], lambda x, _: x)
    np.testing.assert_allclose(outputs.numpy(), expected["outputs"], rtol=1e-5, atol=1e-5)


def test_an_entry_of_a_flax_file_is_chosen_by_its_key(tmp_path: Path) -> None:
    import msgpack

    state = msgpack.unpackb((DATA / "flax.msgpack").read_bytes(), raw=False, strict_map_key=False)
    (tmp_path / "net.msgpack").write_bytes(msgpack.packb({"ema": {"model": state}, "other": 1}))
    result = bnfold_gpu.convert(tmp_path / "net.msgpack", key="ema/model")
    assert isinstance(result, Converted) and result.tensors == 14
    with pytest.raises(bnfold_gpu.SeveralStateDicts, match="there is no entry 'ema/raw'; at 'raw' it has model"):
        bnfold_gpu.convert(tmp_path / "net.msgpack", key="ema/raw", force=True)


def test_arrays_of_numpy_compute_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kernel = random.normal(size=(3, 3, 4, 5)).astype("float32")
    names = ("beta", "gamma", "moving_mean", "moving_variance")
    arrays = {f"conv/BatchNorm/{name}": random.uniform(0.5, 2, 5).astype("float32") for name in names}
    # By columns, and with the high byte first, as NumPy stores what it is given.
    arrays["conv/weights"] = np.asfortranarray(kernel.astype(">f4"))
    np.savez(tmp_path / "net.npz", **arrays)
    tensors = converted(tmp_path / "net.npz")
    assert tensors["conv/weights"].dtype == "<f4" and np.array_equal(tensors["conv/weights"], kernel)
    after = folded(tmp_path / "net.npz", {}, eps=1e-3)
    beta, gamma, mean, variance = (arrays[name] for name in sorted(arrays)[:4])
    scale = gamma / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(after["conv/weights"], kernel * scale, rtol=1e-5)
    np.testing.assert_allclose(after["conv/biases"], beta - mean * scale, rtol=1e-5, atol=1e-6)


def test_names_of_two_frameworks_are_asked_about(tmp_path: Path) -> None:
    arrays = {"conv.weight": np.ones((4, 3, 3, 4), "float32"), **{key.replace("n.", "bn."): value for key, value in norm().items()}}
    np.savez(tmp_path / "net.npz", **arrays)
    with pytest.raises(ConvertError, match=r"of PyTorch and of MLX.* conv.weight .*format='mlx' \(--format\)"):
        bnfold_gpu.convert(tmp_path / "net.npz")
    with pytest.raises(ConvertError, match="format='MLX' is not known; it is one of pt, mlx"):
        bnfold_gpu.convert(tmp_path / "net.npz", format="MLX")
    converted(tmp_path / "net.npz", format="mlx")
    assert bnfold_gpu.plan(tmp_path / "net.npz.safetensors").dialect == "mlx"


def test_arrays_without_a_type_and_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", right=np.ones(2), wrong=np.ones(2, np.longdouble), text=np.array("x"))
    with pytest.raises(ConvertError, match="float128: wrong; <U1: text|longdouble"):
        bnfold_gpu.convert(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", right=np.ones(2), hidden=np.array([{}], dtype=object))
    with pytest.raises(ConvertError, match="hidden cannot be read without running code"):
        bnfold_gpu.convert(tmp_path / "b.npz")
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]


def test_a_checkpoint_is_no_input_for_one(tmp_path: Path) -> None:
    save_file({"a": np.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ConvertError, match="already"):
        bnfold_gpu.convert(tmp_path / "a.safetensors", to="safetensors", force=True)
