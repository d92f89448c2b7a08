"""Keras: every trap that a graph of layers can set, and the outputs of the model without its folded norms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
import numpy as np  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import CheckpointError, LoadError, Plan, TraceError  # noqa: E402
from bnfold_gpu.keras import compare, load_folded, make_plan, save  # noqa: E402

from .conftest import DIGITS  # noqa: E402

L = keras.layers
SHAPE = (9, 9, 3)


@pytest.fixture(autouse=True)
def _names_from_the_start() -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def norms_of(model: Any) -> List[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, L.BatchNormalization)]


def touched(model: Any) -> Any:
    """Statistics, scales and shifts far from those of a new norm."""
    random = np.random.default_rng(3)
    for norm in norms_of(model):
        for weight in norm.weights:
            drawn = random.random(weight.shape) + 0.3
            weight.assign(drawn if weight.name == "moving_variance" else drawn - 0.8)
    return model


def net(run: Callable[[Any], Any], shape: Tuple[Any, ...] = SHAPE) -> Any:
    inputs = keras.Input(shape)
    return touched(keras.Model(inputs, run(inputs)))


def conv(name: str = "conv", **options: Any) -> Any:
    return L.Conv2D(8, 3, name=name, **{"use_bias": False, **options})


def bn(name: str = "bn", **options: Any) -> Any:
    return L.BatchNormalization(name=name, **options)


def outputs(model: Any, inputs: Any) -> List[Any]:
    made = keras.tree.flatten(model(inputs))
    return [np.asarray(keras.ops.convert_to_numpy(one)) for one in made]


def example(model: Any) -> Any:
    random = np.random.default_rng(5)
    shapes = [tuple(size or (5 if place else 2) for place, size in enumerate(tensor.shape)) for tensor in model.inputs]
    made = [random.standard_normal(shape).astype("float32") for shape in shapes]
    return made if len(made) > 1 else made[0]


def round_trip(model: Any, folder: Path, **options: Any) -> Any:
    """Folds by the plan, loads, compares; returns the loaded model."""
    path, folded = folder / "model.safetensors", folder / "folded.safetensors"
    save(model, path, force=True)
    plan = make_plan(model)
    bnfold_gpu.fold(path, folded, plan=plan, force=True, **options)
    loaded = load_folded(model, folded)
    for before, after in zip(outputs(model, example(model)), outputs(loaded, example(model))):
        assert before.shape == after.shape and np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    if options.get("style") != "drop-in":
        assert len(norms_of(loaded)) == len(plan.kept)
    return loaded


def found(plan: Plan) -> Dict[str, Any]:
    return {layer.norm: (layer.op, layer.weight) if layer.is_fold else layer.reason_code for layer in plan}


def inner(name: str = "inner", shape: Tuple[Any, ...] = SHAPE, **options: Any) -> Any:
    inputs = keras.Input(shape)
    return keras.Model(inputs, bn()(conv(padding="same", **options)(inputs)), name=name)


def functional_in(run: Callable[[Any], Any], shape: Tuple[Any, ...] = SHAPE) -> Callable[[], Any]:
    return lambda: net(run, shape)


FOLDS: Dict[str, Tuple[Callable[[], Any], Dict[str, Any]]] = {
    "conv": (functional_in(lambda x: bn()(conv()(x))), {"bn": ("conv", "conv/kernel")}),
    "conv with a bias": (functional_in(lambda x: bn()(conv(use_bias=True, bias_initializer="normal")(x))), {"bn": ("conv", "conv/kernel")}),
    "grouped": (functional_in(lambda x: bn()(L.Conv2D(6, 3, groups=3, name="conv")(x))), {"bn": ("conv", "conv/kernel")}),
    "conv1d": (functional_in(lambda x: bn()(L.Conv1D(5, 3, name="conv")(x)), (9, 3)), {"bn": ("conv", "conv/kernel")}),
    "conv3d": (functional_in(lambda x: bn()(L.Conv3D(5, 3, name="conv")(x)), (5, 5, 5, 2)), {"bn": ("conv", "conv/kernel")}),
    "depthwise": (functional_in(lambda x: bn()(L.DepthwiseConv2D(3, depth_multiplier=2, name="conv")(x))), {"bn": ("depthwise", "conv/kernel")}),
    "depthwise1d": (functional_in(lambda x: bn()(L.DepthwiseConv1D(3, use_bias=False, name="conv")(x)), (9, 3)), {"bn": ("depthwise", "conv/kernel")}),
    "separable": (functional_in(lambda x: bn()(L.SeparableConv2D(5, 3, use_bias=False, name="conv")(x))), {"bn": ("conv", "conv/pointwise_kernel")}),
    "transposed": (functional_in(lambda x: bn()(L.Conv2DTranspose(5, 3, strides=2, use_bias=False, name="conv")(x))), {"bn": ("conv_transpose", "conv/kernel")}),
    "transposed as wide as its input": (functional_in(lambda x: bn()(L.Conv2DTranspose(3, 3, name="conv")(x))), {"bn": ("conv_transpose", "conv/kernel")}),
    "dense": (functional_in(lambda x: bn()(L.Dense(7, use_bias=False, name="fc")(x)), (4,)), {"bn": ("linear", "fc/kernel")}),
    "dense over positions": (functional_in(lambda x: bn()(L.Dense(7, name="fc")(x))), {"bn": ("linear", "fc/kernel")}),
    "neither scale nor shift": (functional_in(lambda x: bn(scale=False, center=False, epsilon=0.01)(conv()(x))), {"bn": ("conv", "conv/kernel")}),
    "frozen": (functional_in(lambda x: bn(trainable=False)(conv()(x), training=True)), {"bn": ("conv", "conv/kernel")}),
    "dropout between": (functional_in(lambda x: bn()(L.Dropout(0.5)(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "linear activation": (functional_in(lambda x: bn()(L.Activation("linear")(conv(activation="linear")(x)))), {"bn": ("conv", "conv/kernel")}),
    "crop": (functional_in(lambda x: bn()(L.Cropping2D(1)(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "nearest upsampling": (functional_in(lambda x: bn()(L.UpSampling2D(2)(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "averages": (functional_in(lambda x: bn()(L.AveragePooling2D(3, 2)(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "average of all": (functional_in(lambda x: bn()(L.GlobalAveragePooling2D()(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "average of all, as a map": (functional_in(lambda x: bn()(L.GlobalAveragePooling2D(keepdims=True)(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "reshape that keeps channels": (functional_in(lambda x: bn()(L.Reshape((49, 8))(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "permuted channels": (functional_in(lambda x: bn(axis=1)(L.Permute((3, 1, 2))(conv()(x)))), {"bn": ("conv", "conv/kernel")}),
    "flatten of one position": (functional_in(lambda x: bn()(L.Flatten()(L.Conv2D(4, 9, name="conv")(x)))), {"bn": ("conv", "conv/kernel")}),
    "operations": (functional_in(lambda x: bn()(keras.ops.reshape(keras.ops.transpose(conv()(x), (0, 2, 1, 3)), (-1, 49, 8)))), {"bn": ("conv", "conv/kernel")}),
    "over time": (functional_in(lambda x: L.TimeDistributed(bn(), name="tbn")(L.TimeDistributed(conv(), name="tconv")(x)), (2, 9, 9, 3)), {"tbn/bn": ("conv", "tconv/conv/kernel")}),
    "a norm over time at once": (functional_in(lambda x: bn()(L.TimeDistributed(conv(), name="tconv")(x)), (2, 9, 9, 3)), {"bn": ("conv", "tconv/conv/kernel")}),
    "a model over time": (functional_in(lambda x: L.TimeDistributed(inner(), name="t")(x), (2, 9, 9, 3)), {"t/inner/bn": ("conv", "t/inner/conv/kernel")}),
    "unknown extents": (functional_in(lambda x: bn()(conv()(x)), (None, None, 3)), {"bn": ("conv", "conv/kernel")}),
    "a lambda elsewhere": (functional_in(lambda x: bn()(conv()(L.Lambda(lambda t: t * 2.0)(x)))), {"bn": ("conv", "conv/kernel")}),
}


def two_units_of_the_same_names() -> Any:
    return net(lambda x: bn()(conv()(inner("b", (9, 9, 8))(inner("a")(x)))))


def shared_layer_and_norm() -> Any:
    layer, norm = conv(), bn()
    return net(lambda x: L.Add()([norm(layer(x)), norm(layer(L.ReLU()(x)))]))


def a_model_called_twice() -> Any:
    unit = inner()
    return net(lambda x: L.Add()([unit(x), unit(L.ReLU()(x))]))


def sequential() -> Any:
    head = keras.Sequential([L.Dense(4, name="fc"), bn("last")], name="head")
    return touched(keras.Sequential([keras.Input(SHAPE), conv(), bn(), L.ReLU(), L.GlobalAveragePooling2D(), head]))


def a_norm_across_models() -> Any:
    inputs = keras.Input(SHAPE)
    backbone = keras.Model(inputs, conv()(inputs), name="backbone")
    return net(lambda x: bn()(backbone(x)))


def layer_in_two_models() -> Any:
    layer = conv()
    first, second = keras.Input(SHAPE), keras.Input(SHAPE)
    one, two = keras.Model(first, layer(first), name="one"), keras.Model(second, layer(second), name="two")
    norm = bn()
    return net(lambda x: L.Add()([norm(one(x)), norm(two(L.ReLU()(x)))]))


def several_inputs_and_outputs() -> Any:
    a, b = keras.Input(SHAPE, name="a"), keras.Input(SHAPE, name="b")
    made = {"sum": L.Add()([bn()(conv()(a)), bn("bn2")(conv("conv2")(b))]), "same": L.ReLU()(a)}
    return touched(keras.Model([a, b], made))


MODELS: Dict[str, Tuple[Callable[[], Any], Dict[str, Any]]] = {
    "two units of the same names": (
        two_units_of_the_same_names,
        {"bn": ("conv", "conv/kernel"), "a/bn": ("conv", "a/conv/kernel"), "b/bn": ("conv", "b/conv/kernel")},
    ),
    "shared layer and norm": (shared_layer_and_norm, {"bn": ("conv", "conv/kernel")}),
    "a model called twice": (a_model_called_twice, {"inner/bn": ("conv", "inner/conv/kernel")}),
    "sequential": (sequential, {"bn": ("conv", "conv/kernel"), "head/last": ("linear", "head/fc/kernel")}),
    "a norm across models": (a_norm_across_models, {"bn": ("conv", "backbone/conv/kernel")}),
    "several inputs and outputs": (several_inputs_and_outputs, {"bn": ("conv", "conv/kernel"), "bn2": ("conv", "conv2/kernel")}),
}


@pytest.mark.parametrize("name", [*FOLDS, *MODELS])
def test_what_is_folded_computes_the_same(name: str, tmp_path: Path) -> None:
    build, expected = {**FOLDS, **MODELS}[name]
    model = build()
    assert found(make_plan(model)) == expected
    loaded = round_trip(model, tmp_path)
    assert loaded.name == model.name and type(loaded) is type(model)
    round_trip(model, tmp_path, style="drop-in")


def two_readers(x: Any) -> Any:
    y = conv()(x)
    return L.Concatenate()([bn()(y), L.ReLU()(y)])


def two_norms(x: Any) -> Any:
    y = conv()(x)
    return L.Concatenate()([bn()(y), bn("bn2")(y)])


def shared_conv(x: Any) -> Any:
    layer = conv(padding="same")
    return L.Concatenate()([bn()(layer(x)), layer(L.ReLU()(x))])


def shared_norm(x: Any) -> Any:
    norm = bn()
    return L.Concatenate()([norm(conv()(x)), norm(conv("conv2")(x))])


def as_output_too(x: Any) -> Any:
    y = conv()(x)
    return [bn()(y), y]


class Opaque(L.Layer):
    """Holds layers of its own, or of others, and calls them as it likes."""

    def __init__(self, *held: Any, **options: Any) -> None:
        super().__init__(**options)
        self.held = list(held)

    def call(self, x: Any) -> Any:
        for layer in self.held:
            x = layer(x)
        return x


class Clipped(L.BatchNormalization):
    """A norm that does more."""

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        return keras.ops.clip(super().call(x, training=training), -0.1, 0.1)


class Squared(L.Conv2D):
    """A convolution that does more."""

    def call(self, x: Any) -> Any:
        return super().call(x) ** 2


def held_elsewhere(x: Any) -> Any:
    layer = conv(padding="same")
    return L.Concatenate()([bn()(layer(x)), Opaque(layer)(x)])


def quantized(x: Any) -> Any:
    layer = L.Dense(8, name="conv")
    y = bn()(layer(x))
    layer.enable_lora(2)
    return y


def same_weight(x: Any) -> Any:
    one, two = conv(), conv("conv2")
    y = bn()(one(x))
    two.build(x.shape)
    object.__setattr__(two, "_kernel", one._kernel)
    return L.Add()([y, two(x)])


KEPT: Dict[str, Tuple[Callable[[Any], Any], str]] = {
    "at the input": (lambda x: conv()(bn()(x)), "behind-operation"),
    "activation within": (lambda x: bn()(conv(activation="relu")(x)), "behind-operation"),
    "activation between": (lambda x: bn()(L.ReLU()(conv()(x))), "behind-operation"),
    "pool between": (lambda x: bn()(L.MaxPooling2D()(conv()(x))), "behind-operation"),
    "padded averages": (lambda x: bn()(L.AveragePooling2D(3, 2, padding="same")(conv()(x))), "behind-operation"),
    "linear upsampling": (lambda x: bn()(L.UpSampling2D(2, interpolation="bilinear")(conv()(x))), "behind-operation"),
    "dropout that drops": (lambda x: bn()(L.Dropout(0.5)(conv()(x), training=True)), "behind-operation"),
    "another norm": (lambda x: bn()(bn("first")(conv()(x))), "behind-norm"),
    "padding": (lambda x: bn()(L.ZeroPadding2D(1)(conv()(x))), "several-inputs"),
    "concatenation": (lambda x: bn()(L.Concatenate()([conv()(x), conv("conv2")(x)])), "several-inputs"),
    "sum": (lambda x: bn()(L.Add()([conv()(x), conv("conv2")(x)])), "behind-operation"),
    "other axis": (lambda x: bn(axis=1)(conv()(x)), "other-channels"),
    "reshape across channels": (lambda x: bn()(L.Reshape((7, 7, 2, 4))(conv()(x))), "behind-operation"),
    "reshape with an axis as long": (lambda x: bn(axis=1)(L.Reshape((8, 49))(conv()(x))), "behind-operation"),
    "flatten": (lambda x: bn()(L.Flatten()(conv()(x))), "behind-operation"),
    "permuted away": (lambda x: bn()(L.Permute((3, 1, 2))(L.Conv2D(7, 3, name="conv")(x))), "other-channels"),
    "second reader": (two_readers, "read-twice"),
    "an output, too": (as_output_too, "read-twice"),
    "held elsewhere": (held_elsewhere, "aliased"),
    "two norms": (two_norms, "several-norms"),
    "layer called again": (shared_conv, "several-norms"),
    "norm of several layers": (shared_norm, "several-layers"),
    "the same weight": (same_weight, "several-norms"),
    "batch statistics": (lambda x: bn()(conv()(x), training=True), "batch-statistics"),
    "a model in training mode": (lambda x: inner()(x, training=True), "batch-statistics"),
    "within a layer": (lambda x: Opaque(conv(), bn())(x), "norm-read"),
    "another class": (lambda x: Clipped(name="bn")(conv()(x)), "norm-read"),
    "another conv class": (lambda x: bn()(Squared(8, 3, name="conv")(x)), "behind-operation"),
    "computed weight": (lambda x: bn()(L.SpectralNormalization(conv())(x)), "behind-operation"),
    "low-rank factors": (quantized, "computed"),
    "one channel at a time": (
        lambda x: L.TimeDistributed(bn(axis=1), name="t")(L.Permute((3, 1, 2))(conv()(x))), "other-channels",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_not_proven_stays(name: str) -> None:
    run, code = KEPT[name]
    plan = make_plan(net(run))
    norm = next(layer for layer in plan if layer.norm.endswith("bn"))
    assert (norm.action, norm.reason_code) == ("keep", code), norm
    assert norm.reason and all(other.reason for other in plan.kept)


def test_a_layer_that_is_held_elsewhere_is_read_there() -> None:
    model = net(held_elsewhere)
    stored = ["conv/kernel", *(f"bn/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance"))]
    norm = make_plan(model, checkpoint=stored)["bn"]
    assert norm.reason_code == "read-twice" and "opaque (Opaque) reads its kernel, too" in str(norm.reason)


def test_a_norm_that_is_not_reached_did_not_run() -> None:
    class Extra(keras.Model):
        def __init__(self, inputs: Any, outputs: Any) -> None:
            super().__init__(inputs, outputs)
            self.aside = bn("aside")
            self.aside.build((None, 8))

    inputs = keras.Input(SHAPE)
    model = touched(Extra(inputs, bn()(conv()(inputs))))
    assert found(make_plan(model)) == {"aside": "not-run", "bn": ("conv", "conv/kernel")}


def test_channels_first() -> None:
    # Not every backend computes it; its graph is the same on all.
    inputs = keras.Input((3, 9, 9))
    y = bn(axis=1)(L.Conv2D(8, 3, data_format="channels_first", use_bias=False, name="conv")(inputs))
    y = bn("last")(L.Conv2D(8, 3, data_format="channels_first", name="conv2")(y))
    assert found(make_plan(keras.Model(inputs, y))) == {"bn": ("conv", "conv/kernel"), "last": "other-channels"}


def test_the_eps_is_the_layers(tmp_path: Path) -> None:
    model = net(lambda x: bn(epsilon=0.05)(conv()(x)))
    assert make_plan(model)["bn"].eps == 0.05
    round_trip(model, tmp_path)


def test_models_without_a_graph_are_refused() -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = conv(), bn()

        def call(self, x: Any) -> Any:
            return self.bn(self.conv(x))

    with pytest.raises(TraceError, match="subclassed model"):
        make_plan(Subclassed())
    with pytest.raises(TraceError, match="not built: begin it with keras.Input"):
        make_plan(keras.Sequential([conv(), bn()]))
    with pytest.raises(TraceError, match="no norm"):
        make_plan(net(lambda x: conv()(x)))
    with pytest.raises(TraceError, match="keras.Model is expected"):
        make_plan(conv())
    with pytest.raises(LoadError, match="has no graph"):
        load_folded(Subclassed(), DIGITS)


def test_names_of_the_checkpoint(tmp_path: Path) -> None:
    model = sequential()
    assert {name for name in make_plan(model, names=lambda name: f"net/{name}")["net/bn"].to_dict()["weight"].split("/")} == {"net", "conv", "kernel"}
    # Keras' own paths, as docs/loading.md writes them: they begin with the name of a sequential model.
    path = tmp_path / "paths.safetensors"
    save_file({weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}, path)
    plan = make_plan(model, checkpoint=path)
    assert plan.folds[0].norm == f"{model.name}/bn" and plan.folds[0].weight == f"{model.name}/conv/kernel"
    bnfold_gpu.fold(path, tmp_path / "folded.safetensors", plan=plan)
    loaded = load_folded(model, tmp_path / "folded.safetensors")
    np.testing.assert_allclose(outputs(loaded, example(model))[0], outputs(model, example(model))[0], rtol=1e-4, atol=1e-5)


def test_a_layer_that_stands_in_two_models(tmp_path: Path) -> None:
    model = layer_in_two_models()
    assert found(make_plan(model)) == {"bn": "aliased"}
    save(model, tmp_path / "model.safetensors")
    assert [name for name in load_file(tmp_path / "model.safetensors") if name.endswith("kernel")] == ["one/conv/kernel"]
    plan = make_plan(model, checkpoint=tmp_path / "model.safetensors")
    assert found(plan) == {"bn": ("conv", "one/conv/kernel")}
    bnfold_gpu.fold(tmp_path / "model.safetensors", tmp_path / "folded.safetensors", plan=plan)
    loaded = load_folded(model, tmp_path / "folded.safetensors")
    np.testing.assert_allclose(outputs(loaded, example(model))[0], outputs(model, example(model))[0], rtol=1e-4, atol=1e-5)
    assert loaded.get_layer("one").get_layer("conv") is loaded.get_layer("two").get_layer("conv")


def test_a_file_of_another_network_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    model = sequential()
    round_trip(model, tmp_path)
    folded = tmp_path / "folded.safetensors"
    before = {weight.path: keras.ops.convert_to_numpy(weight).tobytes() for weight in model.weights}
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    others = {
        "1 have other shapes: conv/kernel is": net(lambda x: keras.Sequential([L.Dense(4, name="fc"), bn("last")], name="head")(bn()(L.Conv2D(8, 1, use_bias=False, name="conv")(x)))),
        "tensors of the file are not in the model, such as head/fc": net(lambda x: bn("head_last")(bn()(conv()(x)))),
        "of the norms of .* it lacks 3.*clear_session": net(lambda x: bn("b3")(bn("b2")(bn()(conv()(x))))),
    }
    for words, other in others.items():
        with pytest.raises(LoadError, match=words):
            load_folded(other, folded)
    tensors = load_file(folded)
    tensors.pop("head/fc/bias")
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(LoadError, match="weights of the model are not in the file, such as head/fc/bias"):
        load_folded(model, tmp_path / "less.safetensors")
    with pytest.raises(LoadError, match="fold the model again"):
        load_folded(model, tmp_path / "absent.safetensors")
    assert before == {weight.path: keras.ops.convert_to_numpy(weight).tobytes() for weight in model.weights}
    assert nodes == [len(layer._inbound_nodes) for layer in model._flatten_layers()]


def test_what_does_more_than_normalize_is_not_thrown_away(tmp_path: Path) -> None:
    model = net(lambda x: Clipped(name="bn")(conv()(x)))
    save(model, tmp_path / "model.safetensors")
    bnfold_gpu.fold(tmp_path / "model.safetensors", tmp_path / "folded.safetensors")
    with pytest.raises(LoadError, match="Clipped is not Keras' own"):
        load_folded(model, tmp_path / "folded.safetensors")


def test_a_layer_that_cannot_be_made_anew_is_named(tmp_path: Path) -> None:
    class Needs(L.Layer):
        def __init__(self, what: Any) -> None:
            super().__init__(name="needs")
            self.what = what

        def call(self, x: Any) -> Any:
            return x

    model = net(lambda x: bn()(conv()(Needs(object())(x))))
    save(model, tmp_path / "model.safetensors")
    bnfold_gpu.fold(tmp_path / "model.safetensors", tmp_path / "folded.safetensors", plan=make_plan(model))
    with pytest.raises(LoadError, match=r"needs \(Needs\) cannot be made anew"):
        load_folded(model, tmp_path / "folded.safetensors")


def test_frozen_layers_and_types_stay(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = net(lambda x: bn("last")(conv("conv2", trainable=False)(bn()(conv()(x)))))
    finally:
        keras.config.set_dtype_policy("float32")
    save(model, tmp_path / "model.safetensors")
    bnfold_gpu.fold(tmp_path / "model.safetensors", tmp_path / "folded.safetensors", plan=make_plan(model))
    loaded = load_folded(model, tmp_path / "folded.safetensors")
    assert not loaded.get_layer("conv2").trainable and loaded.get_layer("conv").trainable
    assert loaded.get_layer("conv").dtype_policy.name == "mixed_bfloat16"


def test_save_replaces_nothing_unasked(tmp_path: Path) -> None:
    model = net(lambda x: bn()(conv()(x)))
    path = tmp_path / "model.safetensors"
    save(model, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="force=True"):
        save(net(lambda x: bn()(conv()(x))), path)
    with pytest.raises(CheckpointError, match="ends in .safetensors"):
        save(model, tmp_path / "model.bin")
    with pytest.raises(OSError):
        save(model, tmp_path / "absent" / "model.safetensors")
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50V2"])
def test_the_planner_contradicts_no_graph(name: str, tmp_path: Path) -> None:
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=4)
    save(model, tmp_path / "model.safetensors")
    comparison = compare(bnfold_gpu.plan(tmp_path / "model.safetensors"), make_plan(model))
    assert not comparison.contradictions and len(comparison.same) > 30
