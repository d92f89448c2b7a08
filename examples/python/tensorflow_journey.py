"""TensorFlow: from a checkpoint to a checkpoint that a network without norms restores by name.

    python examples/python/tensorflow_journey.py

In:     a small network with the names of TF-slim, no download. Out: how much the outputs differ.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf

import bnfold_gpu

v1 = tf.compat.v1
folder = Path(tempfile.mkdtemp())
IMAGES = np.random.default_rng(1).random((2, 16, 16, 3), dtype="float32")


def network(norms):
    x = v1.placeholder(tf.float32, [None, 16, 16, 3], "images")
    for name, width in (("Conv2d_0", 8), ("Conv2d_1", 16)):
        with v1.variable_scope(name):
            x = tf.nn.conv2d(x, v1.get_variable("weights", [3, 3, x.shape[-1], width]), 1, "SAME")
            if norms:
                with v1.variable_scope("BatchNorm"):
                    beta, mean = (v1.get_variable(part, [width]) for part in ("beta", "moving_mean"))
                    gamma, variance = (
                        v1.get_variable(part, [width], initializer=v1.ones_initializer()) for part in ("gamma", "moving_variance")
                    )
                    x = (x - mean) * tf.math.rsqrt(variance + 1e-3) * gamma + beta
            else:
                x += v1.get_variable("biases", [width])
            x = tf.nn.relu(x)
    return x


with tf.Graph().as_default(), v1.Session() as session:
    output = network(norms=True)
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, str(folder / "model.ckpt"))
    before = session.run(output, {"images:0": IMAGES})

made = bnfold_gpu.tf.fold_checkpoint(folder / "model.ckpt", folder / "folded.ckpt", eps=1e-3)
print(f"{made.report.layers.folded} norms folded")

with tf.Graph().as_default(), v1.Session() as session:
    output = network(norms=False)
    v1.train.Saver().restore(session, str(folder / "folded.ckpt"))
    after = session.run(output, {"images:0": IMAGES})
difference = np.abs(after - before).max() / np.abs(before).max()
print(f"outputs differ by {difference:.1e}")
assert difference < 1e-5
