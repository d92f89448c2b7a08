"""ultralytics: folded once, and predictions, exports and `fuse` find it as if they had fused it themselves.

    python examples/python/ultralytics_journey.py

In:     YOLOv8 and YOLOv9 with random weights, no download. Out: the verdicts of comparisons. Needs ultralytics, which is
        under the AGPL; nothing of the package `bnfold_gpu` imports it.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from ultralytics import YOLO

import bnfold_gpu

folder = Path(tempfile.mkdtemp())
images = torch.rand(2, 3, 160, 160)
picture = np.random.default_rng(1).integers(0, 255, (160, 160, 3), dtype=np.uint8)


def boxes(yolo: YOLO) -> torch.Tensor:
    return yolo.predict(picture, imgsz=160, conf=0.0, verbose=False)[0].boxes.data


def checkpoint(name: str) -> YOLO:
    """A network whose statistics are those of a batch, and its weights in `folder`."""
    yolo = YOLO(f"{name}.yaml")
    yolo.model.train()(images)
    save_file({key: value.contiguous().clone() for key, value in yolo.model.eval().state_dict().items()}, folder / f"{name}.safetensors")
    return yolo


original = checkpoint("yolov8n")
planned = bnfold_gpu.plan(folder / "yolov8n.safetensors", arch="ultralytics/yolov8n")
found = bnfold_gpu.torch.compare(planned, bnfold_gpu.torch.make_plan(original.model, images))
print(found)
assert not found.contradictions

bnfold_gpu.fold(folder / "yolov8n.safetensors", folder / "folded.safetensors", arch="ultralytics/yolov8n")
bnfold_gpu.torch.check(original.model, folder / "folded.safetensors", images)

# Its blocks have a form without norm, and go over to it: ultralytics takes the model for fused.
folded = YOLO("yolov8n.yaml")
bnfold_gpu.torch.load_folded(folded.model, folder / "folded.safetensors")
assert folded.model.is_fused()
torch.testing.assert_close(boxes(folded), boxes(original), rtol=1e-3, atol=1e-2)

# YOLOv9 and RT-DETR have blocks that ultralytics merges into one kernel, by the values of their norms: a drop-in file keeps
# these, and loads as the original does.
original = checkpoint("yolov9t")
bnfold_gpu.fold(
    folder / "yolov9t.safetensors", folder / "drop-in.safetensors", style="drop-in", plan=bnfold_gpu.torch.make_plan(original.model, images)
)
bnfold_gpu.torch.check(original.model, folder / "drop-in.safetensors", images)
folded = YOLO("yolov9t.yaml")
bnfold_gpu.torch.load_folded(folded.model, folder / "drop-in.safetensors")
torch.testing.assert_close(boxes(folded), boxes(original), rtol=1e-3, atol=1e-2)
