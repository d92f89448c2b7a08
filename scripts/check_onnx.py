#!/usr/bin/env python3
"""Exported networks: the plan from the graph equals the traced one, and the folded graph computes the same.

    scripts/check_onnx.py [--only GLOB ...] [--exporter torchscript|dynamo] [--renamed] [--table]

Stage:  after the build; it uses the package in python/ and the program that the package finds.
In:     architectures of timm and torchvision; random weights with the statistics of a run in training mode, nothing is
        downloaded. --renamed gives all initializers other names, so that only values tell.
Out:    a line for each, or a row of a table: norms; norms folded by the trace, by `onnx.make_plan`, by `onnx.fold`; layers in
        which the two plans differ; the largest difference of any output of the folded graph, in parts of the largest
        (bound 1e-5), and of any part of it by itself where the network makes rounding larger than that (the same bound).
        Exit status 0 if there were networks, no plan differs, nothing computes something else, and nothing failed.

Needs: pip install torch torchvision timm onnx onnxscript onnxruntime safetensors.
"""

import argparse
import fnmatch
import sys
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_python import with_statistics

import bnfold_gpu

TIMM = """
resnet18 resnetv2_18 densenet121 mobilenetv2_100 mobilenetv3_small_100 efficientnet_b0 regnetx_002 regnety_002 repvgg_a0
mobileone_s0 ghostnet_100 dla46_c levit_128s levit_conv_128s mixnet_s dpn68 res2net50_14w_8s fastvit_t8 repvit_m0_9
mobilevit_s skresnet18 lcnet_050 xception41p visformer_tiny efficientformer_l1 starnet_s1 hgnetv2_b0 repghostnet_050
""".split()
TORCHVISION = "resnet18 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 googlenet mnasnet0_5 regnet_x_400mf".split()
# What a plan says of a layer, apart from the words and codes of who made it.
SAID = ("action", "weight", "op", "bias", "bias_exists", "channels", "groups", "eps", "reason_code")


def networks():
    """Names, and functions that make the network."""
    import timm
    from torchvision.models import get_model

    yield from ((f"timm {name}", lambda name=name: timm.create_model(name)) for name in TIMM)
    for name in TORCHVISION:
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        yield f"torchvision {name}", lambda name=name, options=options: get_model(name, weights=None, **options)


def export(model, example, path, exporter):
    """A graph with its norms: both exporters fold them unless told not to."""
    if exporter == "dynamo":
        torch.onnx.export(model, (example,), dynamo=True, optimize=False, verbose=False).save(path)
        return
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(model, (example,), str(path), dynamo=False, **kept)


def rename(path):
    """Gives every value of a graph another name."""
    model = onnx.load(path)
    names = {}
    new = lambda name: names.setdefault(name, f"v{len(names)}") if name else ""
    for node in model.graph.node:
        node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
    for one in [*model.graph.initializer, *model.graph.input, *model.graph.output]:
        one.name = new(one.name)
    del model.graph.value_info[:]
    onnx.save(model, path)


def differences(traced, from_graph):
    """The layers of which two plans say something else."""
    theirs = {layer.norm: layer for layer in from_graph}
    said = lambda layer: layer and tuple(getattr(layer, key) for key in SAID)
    return [
        f"{layer.norm}: traced {said(layer)}, from the graph {said(theirs.get(layer.norm))}"
        for layer in traced
        if said(layer) != said(theirs.get(layer.norm))
    ]


def round_trip(make, folder, exporter, renamed):
    torch.manual_seed(1)
    model = make()
    example = with_statistics(model, torch.Generator().manual_seed(1))
    checkpoint, graph = folder / "model.safetensors", folder / "model.onnx"
    save_file({key: value.contiguous().clone() for key, value in model.state_dict().items()}, checkpoint)
    export(model, example, graph, exporter)
    if renamed:
        rename(graph)
    traced = bnfold_gpu.torch.make_plan(model, example)
    planned = bnfold_gpu.onnx.make_plan(graph, checkpoint)
    folded = bnfold_gpu.onnx.fold(graph, folder / "folded.onnx", device="cpu")
    return {
        "norms": len(traced),
        "trace": len(traced.folds),
        "graph": len(planned.folds),
        "fold": len(folded.plan.folds),
        "differ": differences(traced, planned),
        "largest": folded.difference,
        "parts": folded.parts_difference,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--exporter", choices=["torchscript", "dynamo"], default="torchscript")
    parser.add_argument("--renamed", action="store_true", help="names are changed, values alone tell")
    parser.add_argument("--table", action="store_true", help="rows in Markdown")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows, failures = [], 0
    if arguments.table:
        print("| network | norms | trace | graph | fold | differ | outputs | parts |\n|---|---|---|---|---|---|---|---|")
    for name, make in networks():
        if not any(fnmatch.fnmatch(name, glob) for glob in arguments.only):
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = round_trip(make, Path(folder), arguments.exporter, arguments.renamed)
        except Exception as error:  # A network that fails is counted and the others go on.
            failures += 1
            print(f"FAILED {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
            continue
        rows.append(row)
        cells = [row[key] for key in ("norms", "trace", "graph", "fold")] + [len(row["differ"]), f"{row['largest']:.1e}"]
        cells.append("" if row["parts"] is None else f"{row['parts']:.1e}")
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
        for text in row["differ"][:4]:
            print(f"    {text}", flush=True)
    wrong = [row for row in rows if row["differ"] or not (row["largest"] if row["parts"] is None else row["parts"]) <= 1e-5]
    sums = {key: sum(row[key] for row in rows) for key in ("norms", "trace", "graph", "fold")}
    print(f"{len(rows)} networks, {len(wrong)} wrong, {failures} failed; {sums}")
    return 1 if wrong or failures or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
