#!/usr/bin/env python3
"""Round trips of real architectures: make_plan, fold, load_folded, the same outputs; and the planner against the trace.

    scripts/check_python.py [--libraries timm torchvision ...] [--only GLOB ...] [--table]

Stage:  after the build; it uses the package in python/ and the program that the package finds.
In:     architectures of timm, torchvision, transformers, ultralytics and segmentation_models_pytorch; random weights with
        the statistics of a run in training mode, nothing is downloaded.
Out:    a line for each, or a row of a table: norms; norms folded from names, from names and values, and by the trace;
        contradictions; the largest difference of any output after `strip`, in parts of the largest (bound 1e-5).
        Exit status 0 if there were networks, none differs, none contradicts, and nothing failed.

Needs: pip install torch torchvision timm transformers ultralytics segmentation_models_pytorch safetensors.
"""

import argparse
import fnmatch
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_networks import is_norm
from make_networks import randomise

import bnfold_gpu
from bnfold_gpu.torch import check, compare, make_plan

TIMM = """
resnet18 resnetv2_50 densenet121 mobilenetv2_100 mobilenetv3_small_100 efficientnet_b0 tf_efficientnet_b0 regnetx_002
regnety_002 regnetv_040 repvgg_a0 mobileone_s0 ghostnet_100 dla46_c hrnet_w18_small inception_v3 vovnet39a levit_128s
mixnet_s dpn68 res2net50_14w_8s fastvit_t8 repvit_m0_9 mobilevit_s skresnet18 rexnet_100 lcnet_050
hardcorenas_a ese_vovnet19b_dw selecsls42b cspdarknet53 darknet53 xception41p coatnet_nano_rw_224 convmixer_768_32
visformer_tiny efficientformer_l1 starnet_s1 hgnetv2_b0 repghostnet_050
""".split()
TORCHVISION = "resnet50 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 vgg11_bn googlenet densenet121 mnasnet0_5 regnet_x_400mf efficientnet_b0 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large".split()
SMP = "Unet FPN Linknet PSPNet DeepLabV3Plus MAnet".split()
TRANSFORMERS = "resnet regnet mobilenet_v1 mobilenet_v2 levit cvt segformer efficientnet".split()
ULTRALYTICS = "yolov5n yolov8n yolo11n yolov8n-seg yolov10n".split()


def networks(library):
    """Names, and functions that make the network, with the name of the architecture that the program knows."""
    if library == "timm":
        import timm

        yield from ((name, lambda name=name: timm.create_model(name), f"timm/{name}") for name in TIMM)
    elif library == "torchvision":
        from torchvision.models import get_model

        for name in TORCHVISION:
            options = {"weights": None, **({"weights_backbone": None} if "deeplab" in name or "lraspp" in name else {})}
            yield name, lambda name=name, options=options: get_model(name, **options), f"torchvision/{name}"
    elif library == "smp":
        import segmentation_models_pytorch as smp

        for name in SMP:
            yield name, lambda name=name: getattr(smp, name)("resnet18", encoder_weights=None), f"smp/{name}__resnet18"
    elif library == "transformers":
        from transformers import AutoConfig, AutoModel

        for name in TRANSFORMERS:
            yield name, lambda name=name: AutoModel.from_config(AutoConfig.for_model(name)), None
    else:
        from ultralytics import YOLO

        for name in ULTRALYTICS:
            yield name, lambda name=name: YOLO(f"{name}.yaml").model, f"ultralytics/{name}"


def with_statistics(model, generator):
    """Random weights, statistics of a batch; returns an input."""
    randomise(model, generator)
    size = (getattr(model, "default_cfg", None) or {}).get("input_size", (3, 224, 224))
    example = torch.randn(2, *size, generator=generator)
    model.train()
    with torch.no_grad():
        model(example)
    model.eval()
    return example


def round_trip(make, arch, folder):
    torch.manual_seed(1)
    model = make()
    example = with_statistics(model, torch.Generator().manual_seed(1))
    path, folded = folder / "model.safetensors", folder / "folded.safetensors"
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    plan = make_plan(model, example[:1])
    options = {"arch": arch} if arch and bnfold_gpu.archs(arch) else {}
    by_names, by_values = (bnfold_gpu.plan(path, evidence=evidence, **options) for evidence in ("none", "auto"))
    bnfold_gpu.fold(path, folded, plan=plan, style="strip", force=True, device="cpu", no_sync=True)
    verdict = check(model, folded, example[:1], quiet=True, bound=1.0)
    found = [compare(planned, plan) for planned in (by_names, by_values)]
    norms = sum(is_norm(module) for module in model.modules())
    return {
        "norms": norms,
        "names": len(by_names.folds),
        "values": len(by_values.folds),
        "trace": len(plan.folds),
        "added": len(found[1].added),
        "unseen": len(found[1].unseen),
        "contradictions": sorted({str(one) for one in (*found[0].contradictions, *found[1].contradictions)}),
        "eps": [*found[1].other_eps] if options else [],
        "largest": verdict.largest,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    libraries = ["timm", "torchvision", "smp", "transformers", "ultralytics"]
    parser.add_argument("--libraries", nargs="*", choices=libraries, default=libraries)
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--table", action="store_true", help="rows in Markdown")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows, failures = [], 0
    if arguments.table:
        print("| network | norms | names | values | trace | added | contradictions | difference |\n|---|---|---|---|---|---|---|---|")
    for library in arguments.libraries:
        for name, make, arch in networks(library):
            if not any(fnmatch.fnmatch(name, glob) for glob in arguments.only):
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    row = round_trip(make, arch, Path(folder))
            except Exception as error:  # A network that fails is counted and the others go on.
                failures += 1
                print(f"FAILED {library} {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
                continue
            rows.append(row)
            cells = [row[key] for key in ("norms", "names", "values", "trace", "added")]
            cells += [len(row["contradictions"]), f"{row['largest']:.1e}"]
            print(f"| {library} {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
            for text in [*row["contradictions"], *row["eps"][:2]]:
                print(f"    {text}", flush=True)
    wrong = [row for row in rows if row["contradictions"] or not row["largest"] <= 1e-5]
    sums = {key: sum(row[key] for row in rows) for key in ("norms", "names", "values", "trace", "added", "unseen")}
    print(f"{len(rows)} networks, {len(wrong)} wrong, {failures} failed; {sums}")
    return 1 if wrong or failures or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
