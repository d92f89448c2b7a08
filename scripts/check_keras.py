#!/usr/bin/env python3
"""Round trips of Keras applications: make_plan, fold, load_folded, the same outputs; and the planner against the graph.

    scripts/check_keras.py [--only GLOB ...] [--table]

Stage:  after the build; it uses the package in python/ and the program that the package finds.
In:     architectures of keras.applications; random weights with the statistics of a run in training mode, nothing is
        downloaded. KERAS_BACKEND says what they run on.
Out:    a line for each, or a row of a table: norms; norms folded from names, from names and values, and by the graph;
        those that the graph adds; contradictions; the largest difference of the outputs after `strip`, in parts of the
        largest: of float32 weights run in float64 (bound 1e-5; what is left is the rounding of folded weights), and run in
        float32, beside what float32 does to the original. Exit status 0 if there were networks, none differs, none contradicts, and nothing failed.

Needs: pip install keras numpy safetensors, and torch, tensorflow or jax.
"""

import argparse
import fnmatch
import sys
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

import bnfold_gpu
from bnfold_gpu.keras import compare, load_folded, make_plan, save

BOUND = 1e-5
# The smallest inputs that they take, or more.
APPLICATIONS = {
    "ResNet50": 64,
    "ResNet50V2": 64,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "MobileNetV3Large": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "DenseNet121": 64,
    "InceptionV3": 96,
    "InceptionResNetV2": 96,
    "Xception": 96,
    "NASNetMobile": 64,
}
# Keras refuses to build it there.
NOT_ON_TORCH = "NASNetMobile"


def network(name):
    """A network with random weights."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    shape = (APPLICATIONS[name], APPLICATIONS[name], 3)
    return getattr(keras.applications, name)(weights=None, input_shape=shape, classes=10, classifier_activation=None)


def in_float64(name):
    """The same network, computed in float64; its weights are random ones."""
    keras.config.set_floatx("float64")
    try:
        return network(name)
    finally:
        keras.config.set_floatx("float32")


def touched(model, size, seed=1):
    """Makes the norms do something; returns inputs."""
    random = np.random.default_rng(seed)
    images = random.standard_normal((8, size, size, 3)).astype("float32")
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
        gamma, beta = (random.standard_normal(norm.moving_mean.shape) for _ in range(2))
        # Shifts above 0, as random networks whose activations cut off half of everything blow rounding up a hundredfold.
        for weight, values in ((norm.gamma, np.exp(0.2 * gamma)), (norm.beta, 0.5 + 0.3 * beta)):
            if weight is not None:
                weight.assign(values)
    model(images, training=True)
    for norm in norms:
        # The last layers see so few pixels of so small images that some channels hardly vary, and rounding is blown up.
        norm.moving_variance.assign(0.5 * (norm.moving_variance + keras.ops.mean(norm.moving_variance)))
    return images[:2]


def outputs(model, images):
    return np.asarray(keras.ops.convert_to_numpy(model(images)), dtype=np.float64)


def round_trip(name, folder):
    model = network(name)
    images = touched(model, APPLICATIONS[name])
    path, folded = folder / "model.safetensors", folder / "folded.safetensors"
    save(model, path)
    plan = make_plan(model, checkpoint=path)
    by_names, by_values = (bnfold_gpu.plan(path, evidence=evidence) for evidence in ("none", "auto"))
    bnfold_gpu.fold(path, folded, plan=plan, style="strip", device="cpu", no_sync=True)
    loaded = load_folded(model, folded)
    exact = in_float64(name)
    before, after = (outputs(load_folded(exact, one), images) for one in (path, folded))
    left = [layer for layer in loaded._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(left) == len(plan.kept), "norms that were folded are still there"
    found = [compare(planned, plan) for planned in (by_names, by_values)]
    return {
        "norms": len(plan),
        "names": len(by_names.folds),
        "values": len(by_values.folds),
        "graph": len(plan.folds),
        "added": len(found[1].added),
        "contradictions": sorted({str(one) for one in (*found[0].contradictions, *found[1].contradictions)}),
        "largest": difference(before, after),
        "float32": difference(before, outputs(loaded, images)),
        "original": difference(before, outputs(model, images)),
    }


def difference(before, after):
    return float(np.abs(after - before).max() / np.abs(before).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--table", action="store_true", help="rows in Markdown")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows, failures = [], 0
    if arguments.table:
        print("| network | norms | names | values | graph | added | contradictions | difference | in float32 | original in float32 |\n|---|---|---|---|---|---|---|---|---|---|")
    for name in APPLICATIONS:
        if not any(fnmatch.fnmatch(name, glob) for glob in arguments.only):
            continue
        if name == NOT_ON_TORCH and keras.backend.backend() == "torch":
            print(f"not run: {name}, which Keras does not build on torch", flush=True)
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = round_trip(name, Path(folder))
        except Exception as error:  # A network that fails is counted and the others go on.
            failures += 1
            print(f"FAILED {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
            continue
        rows.append(row)
        cells = [row[key] for key in ("norms", "names", "values", "graph", "added")]
        cells += [len(row["contradictions"]), *(f"{row[key]:.1e}" for key in ("largest", "float32", "original"))]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
        for text in row["contradictions"]:
            print(f"  {text}", flush=True)
    # A difference that is not a number is not within the bound.
    wrong = [row for row in rows if row["contradictions"] or not row["largest"] <= BOUND]
    print(f"{len(rows)} networks, {sum(row['graph'] for row in rows)} norms folded, {len(wrong)} wrong, {failures} failed")
    return bool(wrong or failures or not rows)


if __name__ == "__main__":
    sys.exit(main())
