"""transformers: a folder in, a folder out, a model without its norms.

    python examples/python/transformers_journey.py

In:     a ResNet of transformers with random weights, no download. Out: the verdict of a comparison.
"""

import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
model = ResNetForImageClassification(config).eval()
model.save_pretrained(folder / "model")

# `from_pretrained` would drop the biases of a stripped file; `load_folded_pretrained` does not.
(folder / "folded").mkdir()
bnfold_gpu.fold(folder / "model" / "model.safetensors", folder / "folded" / "model.safetensors", style="strip")
(folder / "folded" / "config.json").write_text((folder / "model" / "config.json").read_text())
folded = bnfold_gpu.torch.load_folded_pretrained(AutoModelForImageClassification, folder / "folded")

images = torch.randn(1, 3, 64, 64)
torch.testing.assert_close(folded(images).logits, model(images).logits, rtol=1e-3, atol=1e-4)
bnfold_gpu.torch.check(model, folder / "folded", images)
