"""TensorFlow: checkpoints of both kinds, folded, and restored into graphs without the norms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
import numpy as np  # noqa: E402

import bnfold_gpu  # noqa: E402
from bnfold_gpu import BnfoldWarning, CheckpointError, ModelFailed  # noqa: E402
from bnfold_gpu.tf import fold_checkpoint, load_folded, plan_checkpoint  # noqa: E402

v1 = tf.compat.v1
IMAGES = np.random.default_rng(1).standard_normal((2, 12, 12, 3)).astype("float32")
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def batch_norm(x: Any, eps: float = 1e-3) -> Any:
    """As tf.contrib.slim names it."""
    with v1.variable_scope("BatchNorm"):
        width = x.shape[-1]
        gamma, beta, mean, var = (v1.get_variable(name, [width], trainable=name[0] in "gb") for name in NORM)
        return (x - mean) * tf.math.rsqrt(var + eps) * gamma + beta


def slim_conv(x: Any, name: str, width: int, norms: bool, depthwise: bool = False) -> Any:
    with v1.variable_scope(name):
        if depthwise:
            weights = v1.get_variable("depthwise_weights", [3, 3, x.shape[-1], 1])
            x = tf.nn.depthwise_conv2d(x, weights, [1, 1, 1, 1], "SAME")
        else:
            x = tf.nn.conv2d(x, v1.get_variable("weights", [3, 3, x.shape[-1], width]), 1, "SAME")
        return tf.nn.relu(batch_norm(x) if norms else x + v1.get_variable("biases", [width or x.shape[-1]]))


def slim_network(norms: bool) -> Any:
    """The names of slim's MobileNet."""
    images = v1.placeholder(tf.float32, [None, 12, 12, 3], "images")
    with v1.variable_scope("MobilenetV1"):
        x = slim_conv(images, "Conv2d_0", 8, norms)
        x = slim_conv(x, "Conv2d_1_depthwise", 0, norms, depthwise=True)
        x = slim_conv(x, "Conv2d_1_pointwise", 16, norms)
        with v1.variable_scope("Logits"):
            weights, biases = v1.get_variable("weights", [16, 5]), v1.get_variable("biases", [5])
            return tf.reduce_mean(x, [1, 2]) @ weights + biases


def save_slim(prefix: Path, extra: Callable[[], Any] = lambda: None) -> Any:
    """Writes a checkpoint of a trained network; returns what it computes."""
    random = np.random.default_rng(3)
    with tf.Graph().as_default(), v1.Session() as session:
        logits = slim_network(norms=True)
        v1.train.create_global_step()
        extra()
        session.run(v1.global_variables_initializer())
        for variable in v1.global_variables():
            if variable.dtype.base_dtype == tf.float32:
                drawn = random.random(variable.shape) + 0.3
                variable.load(drawn if "variance" in variable.name else drawn - 0.8, session)
        v1.train.Saver().save(session, str(prefix), write_meta_graph=False)
        return session.run(logits, {"images:0": IMAGES})


def restored_slim(prefix: Path, averages: bool = False) -> Any:
    """What the network without norms computes from a checkpoint."""
    with tf.Graph().as_default(), v1.Session() as session:
        logits = slim_network(norms=False)
        names = tf.train.ExponentialMovingAverage(0.9).variables_to_restore() if averages else None
        v1.train.Saver(names).restore(session, str(prefix))
        return session.run(logits, {"images:0": IMAGES})


def close(before: Any, after: Any) -> bool:
    return bool(np.abs(np.asarray(after) - np.asarray(before)).max() <= 1e-5 * np.abs(np.asarray(before)).max())


def contents(prefix: Path) -> Dict[str, Any]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_checkpoint_of_slim(tmp_path: Path) -> None:
    before = save_slim(tmp_path / "model.ckpt")
    plan = plan_checkpoint(tmp_path / "model.ckpt")
    assert [layer.norm for layer in plan.folds] == [f"MobilenetV1/Conv2d_{place}/BatchNorm" for place in ("0", "1_depthwise", "1_pointwise")]
    with pytest.warns(BnfoldWarning, match=r"model.ckpt: eps .* assumed"):
        made = fold_checkpoint(tmp_path / "model.ckpt", tmp_path / "folded.ckpt")
    assert made.report.layers.folded == 3 and made.averaged is None and not made.left_out
    assert close(before, restored_slim(tmp_path / "folded.ckpt"))
    original, folded = contents(tmp_path / "model.ckpt"), contents(tmp_path / "folded.ckpt")
    assert set(original) - set(folded) == {f"{layer.norm}/{part}" for layer in plan for part in NORM}
    assert {name.rpartition("/")[2] for name in set(folded) - set(original)} == {"biases"}
    same = ("global_step", "MobilenetV1/Logits/weights", "MobilenetV1/Logits/biases")
    assert all(folded[name].tobytes() == original[name].tobytes() and folded[name].dtype == original[name].dtype for name in same)


def test_moving_averages_are_a_network_of_their_own(tmp_path: Path) -> None:
    def averages() -> Any:
        average = tf.train.ExponentialMovingAverage(0.9)
        return average.apply([one for one in v1.trainable_variables() if "Logits" not in one.name])

    save_slim(tmp_path / "model.ckpt", averages)
    with tf.Graph().as_default(), v1.Session() as session:
        logits = slim_network(norms=True)
        v1.train.create_global_step()
        averaged = tf.train.ExponentialMovingAverage(0.9)
        shadows = [one for one in v1.trainable_variables() if "Logits" not in one.name]
        names = {(averaged.average_name(one) if any(one is other for other in shadows) else one.op.name): one for one in v1.global_variables()}
        v1.train.Saver(names).restore(session, str(tmp_path / "model.ckpt"))
        before = session.run(logits, {"images:0": IMAGES})
    made = fold_checkpoint(tmp_path / "model.ckpt", tmp_path / "folded.ckpt", eps=1e-3)
    assert made.averaged is not None and made.averaged.layers.folded == 3
    folded = contents(tmp_path / "folded.ckpt")
    assert "MobilenetV1/Conv2d_0/biases/ExponentialMovingAverage" in folded and not any("BatchNorm" in name for name in folded)
    with tf.Graph().as_default(), v1.Session() as session:
        logits = slim_network(norms=False)
        names = {name.op.name: name for name in v1.global_variables()}
        stored = {f"{name}/ExponentialMovingAverage" if f"{name}/ExponentialMovingAverage" in folded else name: one for name, one in names.items()}
        v1.train.Saver(stored).restore(session, str(tmp_path / "folded.ckpt"))
        assert close(before, session.run(logits, {"images:0": IMAGES}))


def test_what_optimizers_keep_goes_where_it_does_not_fit_any_more(tmp_path: Path) -> None:
    def momentum() -> Any:
        loss = tf.add_n([tf.reduce_sum(one) for one in v1.trainable_variables()])
        return v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss)

    before = save_slim(tmp_path / "model.ckpt", momentum)
    with pytest.warns(BnfoldWarning, match="optimizers do not fit"):
        made = fold_checkpoint(tmp_path / "model.ckpt", tmp_path / "folded.ckpt", eps=1e-3)
    left = {name for name in contents(tmp_path / "folded.ckpt") if name.endswith("Momentum")}
    assert left == {"MobilenetV1/Logits/weights/Momentum", "MobilenetV1/Logits/biases/Momentum"}
    assert len(made.left_out) == 3 * 3 and close(before, restored_slim(tmp_path / "folded.ckpt"))


def touched(model: Any) -> Any:
    """The statistics of a batch: values contradict the planner where they are none of the layer's."""
    random = np.random.default_rng(3)
    norms = [layer for layer in model.layers if "BatchNormalization" in type(layer).__name__]
    for norm in norms:
        norm.momentum = 0.0
        norm.gamma.assign(np.exp(0.2 * random.standard_normal(norm.gamma.shape)))
        norm.beta.assign(0.5 + 0.3 * random.standard_normal(norm.beta.shape))
    model(np.concatenate([LARGER] * 2 + [LARGER[:, ::-1]] * 2), training=True)
    for norm in norms:
        norm.moving_variance.assign(0.5 * (norm.moving_variance + np.mean(norm.moving_variance)))
        norm.momentum = 0.99
    return model


def application(keras: Any) -> Any:
    keras.backend.clear_session()
    options = {"weights": None, "input_shape": (32, 32, 3), "classes": 5, "alpha": 0.25, "classifier_activation": None}
    return touched(keras.applications.MobileNet(**options))


LARGER = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("trained", [False, True])
def test_an_application_of_keras_3(trained: bool, tmp_path: Path) -> None:
    import keras

    model = application(keras)
    objects = {"model": model}
    if trained:
        model.compile(keras.optimizers.Adam(1e-4), "mse")
        model.fit(LARGER, np.zeros((2, 5)), verbose=0)
        objects["optimizer"] = model.optimizer
    prefix = tf.train.Checkpoint(**objects).save(str(tmp_path / "ckpt"))
    plan = bnfold_gpu.keras.make_plan(model)
    planned = plan_checkpoint(prefix)
    assert not bnfold_gpu.keras.compare(planned, plan).contradictions and len(planned.folds) == len(plan.folds) == 27
    made = fold_checkpoint(prefix, tmp_path / "folded", plan=plan)
    assert bool(made.left_out) == trained
    loaded = load_folded(model, tmp_path / "folded")
    assert close(model(LARGER), loaded(LARGER))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in loaded.layers)


@pytest.mark.parametrize("way", ["save_weights", "checkpoint"])
def test_an_application_of_tf_keras(way: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("tf_keras")
    model = application(keras)
    before = model(LARGER)
    if way == "checkpoint":
        prefix = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    else:
        prefix = str(tmp_path / "weights")
        model.save_weights(prefix)
    fold_checkpoint(prefix, tmp_path / "folded", eps=1e-3)
    # The network without norms, as its code would be written.
    keras.backend.clear_session()
    norms = {layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in norms:
            return keras.layers.Activation("linear", name=layer.name)
        if "use_bias" in config:
            config["use_bias"] = True
        return type(layer).from_config(config)

    stripped = keras.models.clone_model(model, clone_function=clone)
    if way == "checkpoint":
        tf.train.Checkpoint(model=stripped).restore(str(tmp_path / "folded")).assert_existing_objects_matched()
    else:
        stripped.load_weights(str(tmp_path / "folded"))
    assert close(before, stripped(LARGER))


def test_names_that_do_not_tell_variables_apart_are_refused(tmp_path: Path) -> None:
    class Unit(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(np.ones((3, 3, 3, 4), "float32"))
            self.moving_variance = tf.Variable(np.ones(4, "float32"))

    prefix = tf.train.Checkpoint(unit=Unit()).save(str(tmp_path / "ckpt"))
    with pytest.raises(CheckpointError, match="several variables named Variable.*bnfold_gpu.keras.save"):
        fold_checkpoint(prefix, tmp_path / "folded")


def files(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_nothing_is_replaced_or_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_slim(tmp_path / "model.ckpt")
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "folded"
    fold_checkpoint(tmp_path / "model.ckpt", out, eps=1e-3)
    first = files(tmp_path / "out")
    assert sorted(first) == ["folded.data-00000-of-00001", "folded.index"]
    with pytest.raises(CheckpointError, match="force=True"):
        fold_checkpoint(tmp_path / "model.ckpt", out, eps=1e-3)
    with pytest.raises(CheckpointError, match="is no folder"):
        fold_checkpoint(tmp_path / "model.ckpt", tmp_path / "absent" / "folded")
    with pytest.raises(CheckpointError, match="the prefix of a checkpoint is expected"):
        fold_checkpoint(tmp_path / "absent.ckpt", tmp_path / "other")
    with pytest.raises(ModelFailed, match="model.ckpt: .*eps"):
        fold_checkpoint(tmp_path / "model.ckpt", out, force=True, strict=True)

    real, calls = os.rename, []

    def fails(source: Any, target: Any) -> None:
        calls.append(target)
        # The last of the new files, the index.
        if len(calls) == 4:
            raise OSError("no space")
        real(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OSError, match="no space"):
        fold_checkpoint(tmp_path / "model.ckpt", out, eps=1e-2, force=True)
    monkeypatch.undo()
    assert files(tmp_path / "out") == first and [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []
    fold_checkpoint(tmp_path / "model.ckpt", out, eps=1e-2, force=True)
    assert files(tmp_path / "out") != first and sorted(files(tmp_path / "out")) == sorted(first)
    damaged = tmp_path / "out" / "folded.data-00000-of-00001"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        fold_checkpoint(out, tmp_path / "again")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types_stay_what_they_are(dtype: str, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    kind = tf.as_dtype(dtype)
    names: List[str] = ["conv/kernel", *(f"conv_bn/{part}" for part in NORM)]
    values = [tf.cast(random.random((3, 3, 3, 4)) - 0.5, kind), *(tf.cast(random.random(4) + 0.3, kind) for _ in NORM)]
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "m"), tensor_names=names, shape_and_slices=[""] * 5, tensors=values)
    fold_checkpoint(tmp_path / "m", tmp_path / "f", eps=1e-3)
    folded = contents(tmp_path / "f")
    assert set(folded) == {"conv/kernel", "conv/bias"} and all(str(tensor.dtype) == dtype for tensor in folded.values())
    kernel, gamma, beta, mean, var = (np.asarray(value).astype("float64") for value in values)
    scale = gamma / np.sqrt(var + 1e-3)
    rounding = {"float16": 1e-3, "bfloat16": 8e-3, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(folded["conv/kernel"].astype("float64"), kernel * scale, rtol=rounding)
    np.testing.assert_allclose(folded["conv/bias"].astype("float64"), beta - mean * scale, rtol=rounding, atol=rounding)
