"""timm: norms that hold an activation keep it.

    python examples/python/timm_journey.py

In:     timm's MobileNetV3 with random weights, no download. Out: the verdict of a comparison.
"""

import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
model = timm.create_model("mobilenetv3_small_100").eval()
save_file(model.state_dict(), folder / "model.safetensors")

# Without a plan, names and values tell the pairs, and `arch` the eps. `compare` holds that against the model itself.
images = torch.randn(1, 3, 224, 224)
planned = bnfold_gpu.plan(folder / "model.safetensors", arch="timm/mobilenetv3_small_100")
found = bnfold_gpu.torch.compare(planned, bnfold_gpu.torch.make_plan(model, images))
print(found)
assert not found.contradictions

bnfold_gpu.fold(folder / "model.safetensors", folder / "folded.safetensors", arch="timm/mobilenetv3_small_100")
bnfold_gpu.torch.check(model, folder / "folded.safetensors", images)
folded = bnfold_gpu.torch.load_folded(timm.create_model("mobilenetv3_small_100"), folder / "folded.safetensors")
