"""A training script's file: to `.safetensors`, folded, and back to a state dict that `torch.load` reads.

    python examples/python/convert_journey.py

In:     a network with random weights, no download. Out: what was converted; the same outputs before and after.
"""

import tempfile
from pathlib import Path

import torch
import torchvision

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
model = torchvision.models.resnet18().eval()
average = torch.optim.swa_utils.AveragedModel(model)
torch.save({"epoch": 3, "model": model.state_dict(), "ema": average.module.state_dict()}, folder / "last.ckpt")

# Both are weights, and which of them is meant no file tells.
try:
    bnfold_gpu.convert(folder / "last.ckpt")
except bnfold_gpu.SeveralStateDicts as several:
    print(several)
    assert several.keys == ("model", "ema")
print(bnfold_gpu.convert(folder / "last.ckpt", folder / "model.safetensors", key="ema"))

images = torch.randn(1, 3, 224, 224)
plan = bnfold_gpu.torch.make_plan(model, images)
bnfold_gpu.fold(folder / "model.safetensors", folder / "folded.safetensors", plan=plan)

# For a program that reads nothing but `.pth`.
print(bnfold_gpu.convert(folder / "folded.safetensors"))
state = torch.load(folder / "folded.pth", weights_only=True)
assert "conv1.bias" in state and "bn1.weight" not in state

folded = bnfold_gpu.torch.load_folded(torchvision.models.resnet18(), folder / "folded.safetensors")
folded.load_state_dict(state, strict=True)
torch.testing.assert_close(folded(images), model(images), rtol=1e-3, atol=1e-4)
