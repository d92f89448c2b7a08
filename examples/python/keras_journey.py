"""Keras: the plan is that of the model's graph, and the folded model has no norms.

    KERAS_BACKEND=torch python examples/python/keras_journey.py

In:     Keras' MobileNetV2 with random weights, no download. Out: how much the outputs differ.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), alpha=0.35, classes=10, classifier_activation=None)
images = np.random.default_rng(1).random((8, 64, 64, 3), dtype="float32")
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.5
model(images, training=True)  # so that the norms have statistics
bnfold_gpu.keras.save(model, folder / "model.safetensors")

# Which layer feeds each norm, and the eps of each, are those of the model itself.
plan = bnfold_gpu.keras.make_plan(model)
bnfold_gpu.fold(folder / "model.safetensors", folder / "folded.safetensors", plan=plan)

# A new graph without the norms; biases are added where folding made them.
folded = bnfold_gpu.keras.load_folded(model, folder / "folded.safetensors")
assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
before, after = (keras.ops.convert_to_numpy(network(images)) for network in (model, folded))
difference = np.abs(after - before).max() / np.abs(before).max()
print(f"{len(model.layers)} layers before, {len(folded.layers)} after; outputs differ by {difference:.1e}")
assert difference < 1e-5
