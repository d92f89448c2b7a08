"""ONNX: an exact plan from a graph, without the model's code; and a graph that is folded itself.

    python examples/python/onnx_journey.py

In:     torchvision's ResNet-18 with random weights, no download. Out: a folded checkpoint and a folded graph.
"""

import tempfile
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
model = torchvision.models.resnet18().eval()
save_file(model.state_dict(), folder / "model.safetensors")

# Left to themselves, exporters fold norms in their own way; these options keep them.
images = torch.randn(1, 3, 64, 64)
kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
torch.onnx.export(model, (images,), str(folder / "model.onnx"), dynamo=False, **kept)

# The checkpoint, by the graph.
plan = bnfold_gpu.onnx.make_plan(folder / "model.onnx", folder / "model.safetensors")
assert not plan.kept, plan.kept
bnfold_gpu.fold(folder / "model.safetensors", folder / "folded.safetensors", plan=plan)
bnfold_gpu.torch.check(model, folder / "folded.safetensors", images)

# The graph itself.
folded = bnfold_gpu.onnx.fold(folder / "model.onnx", folder / "folded.onnx")
assert folded.report is not None and folded.difference is not None
print(f"{folded.report.layers.folded} norms folded, outputs differ by {folded.difference:.1e} at most")
