"""torchvision: from a model class to a folded model that runs.

    python examples/python/torchvision_journey.py

In:     torchvision's ResNet-18 with random weights, no download. Out: the verdict of a comparison.
"""

import tempfile
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
model = torchvision.models.resnet18().eval()
save_file(model.state_dict(), folder / "resnet18.safetensors")

# What feeds each norm, and with which eps, as the model runs.
images = torch.randn(1, 3, 224, 224)
plan = bnfold_gpu.torch.make_plan(model, images)
assert not plan.kept, plan.kept

bnfold_gpu.fold(folder / "resnet18.safetensors", folder / "folded.safetensors", plan=plan)
bnfold_gpu.torch.check(model, folder / "folded.safetensors", images)

folded = bnfold_gpu.torch.load_folded(torchvision.models.resnet18(), folder / "folded.safetensors")
torch.testing.assert_close(folded(images), model(images), rtol=1e-3, atol=1e-4)
