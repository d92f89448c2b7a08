#!/usr/bin/env python3
"""A sharded ResNet, folded in drop-in style, must load into unmodified transformers code and compute the same.

    scripts/check_transformers.py [--bin target/release/bnfold-gpu] [--device cpu|gpu] [--shard-size 6MB]

Stage:  after the build; it sees the program only through its command line.
In:     nothing: a network of the shape of microsoft/resnet-18 with random weights is made, run in training mode so that
        its running statistics are its own, and saved in shards by transformers itself. Nothing is downloaded.
Out:    one line a check, `ok` or `FAILED` with its figure, then `N passed, M failed`. Exit status 0 only if none failed.

  shards   transformers wrote several, and some norm lies in another shard than the convolution that feeds it
  folded   every norm is folded
  index    the same keys in the same shards, the same total_size and total_parameters as before
  loads    from_pretrained finds no key missing, unexpected or of another shape
  outputs  logits within 1e-4 of the largest one, for a seeded batch
  differs  the folded weights are others: what was loaded is not the original
  verify   `bnfold-gpu verify` finds the two sharded models to be the same network

Needs Python 3.9 or newer: pip install torch transformers safetensors
"""
import argparse, json, os, shutil, subprocess, sys, tempfile

import torch
from transformers import ResNetConfig, ResNetForImageClassification

OUTPUT_LIMIT = 1e-4
INDEX = "model.safetensors.index.json"


def make(folder, shard_size):
    """Saves a ResNet-18 with statistics, gammas and betas that are far from their initial values."""
    torch.manual_seed(5)
    config = ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], num_labels=100)
    model = ResNetForImageClassification(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    model.train()
    with torch.no_grad():
        for _ in range(8):
            model(torch.randn(8, 3, 64, 64) * 1.5 + 0.3)
    model.eval().save_pretrained(folder, max_shard_size=shard_size)
    return model


def read_index(folder):
    with open(os.path.join(folder, INDEX), encoding="utf-8") as file:
        return json.load(file)


def parted_norms(weight_map):
    """Norms that lie in another shard than the convolution beside them."""
    norms = [name for name in weight_map if name.endswith(".normalization.running_var")]
    conv = lambda name: name.replace(".normalization.running_var", ".convolution.weight")
    return [name for name in norms if weight_map[conv(name)] != weight_map[name]]


def checks(arguments, folder):
    """Yields (check, passed, figure)."""
    source, target = os.path.join(folder, "original"), os.path.join(folder, "folded")
    model = make(source, arguments.shard_size)
    before = read_index(source)
    shards, parted = set(before["weight_map"].values()), parted_norms(before["weight_map"])
    yield "shards", len(shards) > 1 and parted, f"{len(shards)} shards, {len(parted)} norms apart from their convolution"

    index = os.path.join(source, INDEX)
    options = ["--style", "drop-in", "--device", arguments.device, "--format", "json"]
    command = [arguments.bin, "--input", index, "--output", target, *options]
    run = subprocess.run(command, capture_output=True, text=True)
    sys.stderr.write(run.stderr)
    if run.returncode != 0:
        yield "folded", False, f"exit status {run.returncode}"
        return
    layers = json.loads(run.stdout)["layers"]
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    yield "folded", layers == {"folded": norms, "kept": 0}, f"{layers['folded']} of {norms} norms"
    after = read_index(target)
    yield "index", after == before, f"{len(after['weight_map'])} tensors, metadata {after['metadata']}"

    shutil.copy(os.path.join(source, "config.json"), target)
    loaded, info = ResNetForImageClassification.from_pretrained(target, output_loading_info=True)
    wrong = {kind: list(keys) for kind, keys in info.items() if keys}
    yield "loads", not wrong, str(wrong or "no key missing or unexpected")

    batch = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(9)) * 1.5 + 0.3
    with torch.inference_mode():
        expected, found = model(batch).logits, loaded.eval()(batch).logits
    error = ((expected - found).abs().max() / expected.abs().max()).item()
    yield "outputs", error <= OUTPUT_LIMIT, f"largest difference {error:.2e} of the largest logit, {OUTPUT_LIMIT:.0e} accepted"
    stem = "resnet.embedder.embedder.convolution.weight"
    moved = (model.state_dict()[stem] - loaded.state_dict()[stem]).abs().max().item()
    yield "differs", moved > 1e-3, f"a weight of the first layer moved by {moved:.2e}"

    run = subprocess.run(
        [arguments.bin, "verify", "--quiet", "--original", index, "--folded", os.path.join(target, INDEX)],
        capture_output=True,
        text=True,
    )
    yield "verify", run.returncode == 0, (run.stdout + run.stderr).strip().split(": ", 1)[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shard-size", default="6MB")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for check, passed, figure in checks(arguments, folder):
            results.append(bool(passed))
            print(f"{'ok    ' if passed else 'FAILED'} {check:8} {figure}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
