"""Makes `flax.msgpack` and `flax.npz`: a network of Flax as Flax stores it, and what it computes.

    pip install flax && python python/tests/data/make_flax.py

In:     nothing. Out: both files, beside this one. Tests read them, so that they do not need JAX.
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization


class Network(nn.Module):
    """Two units, and a head in bfloat16."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3), padding="VALID")(x)))
        return nn.Dense(3, param_dtype=jnp.bfloat16)(x.mean((1, 2)))


folder, random = Path(__file__).parent, np.random.default_rng(1)
images = random.normal(size=(2, 8, 8, 3)).astype("float32")
variables = jax.tree.map(np.array, Network().init(jax.random.PRNGKey(0), images))
for name, statistics in variables["batch_stats"].items():
    statistics.update(mean=random.normal(size=8).astype("float32"), var=random.uniform(0.5, 2, 8).astype("float32"))
    variables["params"][name].update(scale=random.uniform(0.5, 2, 8).astype("float32"), bias=random.normal(size=8).astype("float32"))
serialization.MAX_CHUNK_SIZE = 1000  # So that a kernel is stored in chunks, as those of more than a gigabyte are.
(folder / "flax.msgpack").write_bytes(serialization.to_bytes({**variables, "step": 7, "opt_state": {"0": {}}}))
np.savez(folder / "flax.npz", images=images, outputs=np.asarray(Network().apply(variables, images)))
