#!/usr/bin/env python3
"""Score what the planner makes of values, on the networks of scripts/make_networks.py.

    scripts/score_values.py [FOLDER ...] [--bin target/release/bnfold-gpu] [--seed 1] [-v]      (FOLDER: target/networks/*)

In:     folders with NAME.safetensors and NAME.json, the weight that feeds each norm
Out:    on stdout, for each folder and each of four ways to plan:
          names     `--evidence none`: names and shapes alone
          auto      the default: right pairs of `names` that evidence refuses are lost, wrong ones that it refuses are caught
          full      `--evidence full`: what names leave open is paired by values
          renamed   the same on a copy whose every module has a random name: shapes and values alone
        right: planned as the truth says; WRONG: planned, but fed by something else; recall: of norms that one weight feeds

Exit status 0 if `auto` and `full` are never wrong and lose nothing, and `renamed` reaches recall 0.8 at precision 0.98, else 1.
Needs Python 3 and nothing else.
"""

import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LEAVES += ("_mean", "_variance", "w_0", "w_1", "w_2", "b_0")  # Paddle
LEAVES += ("kernel:0", "depthwise_kernel:0", "pointwise_kernel:0", "bias:0", "gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")  # Keras
VARIANCES = (".running_var", "._variance", ".w_2", "/moving_variance:0")


def split(name):
    """Module, separator and leaf of a tensor's name: Keras has slashes."""
    return name.rpartition("/" if name.endswith(":0") else ".")


def read_header(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length


def renamed(path, folder, seed):
    """A copy of `path` with a random name for every module; returns it and the tensors' new names."""
    header, data = read_header(path)
    modules = sorted({split(name)[0] for name in header if name != "__metadata__"})
    numbers = list(range(len(modules)))
    random.Random(seed).shuffle(numbers)
    new = {module: f"m{number:05}" for module, number in zip(modules, numbers)}
    names = {}
    for name in header:
        module, dot, leaf = split(name)
        if name != "__metadata__":
            names[name] = f"{new[module]}{dot}{leaf}" if leaf in LEAVES else f"{new[module]}.x{len(names)}"
    blob = json.dumps({names.get(name, name): entry for name, entry in header.items()}, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    copy = Path(folder) / "renamed.safetensors"
    with open(path, "rb") as source, open(copy, "wb") as target:
        source.seek(data)
        target.write(struct.pack("<Q", len(blob)) + blob)
        while piece := source.read(1 << 22):
            target.write(piece)
    return copy, names


def planned(binary, path, evidence):
    """norm -> (weight or None, reason or evidence)"""
    command = [binary, "plan", "--quiet", "--input", str(path), "--evidence", evidence, "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{path}: {run.stderr.strip()}")
    layers = json.loads(run.stdout)["layers"]
    return {layer["norm"]: (layer.get("weight"), layer.get("reason") or "; ".join(layer["evidence"])) for layer in layers}


def judge(plan, truth, name, way, verbose):
    count = Counter(fed=sum(weight is not None for weight in truth.values()))
    for norm, (weight, why) in plan.items():
        if weight is None or norm not in truth:
            continue
        count["right" if truth[norm] == weight else "WRONG"] += 1
        if truth[norm] != weight and verbose:
            print(f"  {way:8}{name}: {norm} <- {weight}, is {truth[norm]}: {why}")
    return count


def score(path, arguments, total):
    truth = json.loads(path.with_suffix(".json").read_text())
    plans = {way: planned(arguments.bin, path, evidence) for way, evidence in (("names", "none"), ("auto", "auto"), ("full", "full"))}
    for way, plan in plans.items():
        total[way] += judge(plan, truth, path.stem, way, arguments.verbose)
    for way in ("auto", "full"):
        for norm, (weight, _) in plans["names"].items():
            now, why = plans[way][norm]
            if weight is not None and now != weight and norm in truth:
                total[way]["lost" if truth[norm] == weight else "caught"] += 1
                if arguments.verbose:
                    print(f"  {way:8}{path.stem}: not {norm} <- {weight}, is {truth[norm]}: {why}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy, names = renamed(path, folder, arguments.seed)
        plan = planned(arguments.bin, copy, "full")
    variances = {norm: next((norm + leaf for leaf in VARIANCES if norm + leaf in names), None) for norm in truth}
    modules = {split(names[variances[norm]])[0]: weight for norm, weight in truth.items() if variances[norm]}
    new_truth = {norm: names.get(weight) for norm, weight in modules.items()}
    total["renamed"] += judge(plan, new_truth, path.stem, "renamed", arguments.verbose)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    good = True
    for folder in arguments.folders or sorted(Path("target/networks").iterdir()):
        total = {way: Counter() for way in ("names", "auto", "full", "renamed")}
        networks = sorted(folder.glob("*.json"))
        for path in networks:
            score(path.with_suffix(".safetensors"), arguments, total)
        print(f"{folder}: {len(networks)} networks, {total['names']['fed']} norms fed by one weight")
        for way, count in total.items():
            right, wrong, fed = count["right"], count["WRONG"], count["fed"]
            rates = f"recall {right / max(1, fed):.4f}, precision {right / max(1, right + wrong):.4f}"
            refused = f", refused: {count['lost']} right, {count['caught']} wrong" if way in ("auto", "full") else ""
            print(f"  {way:8}{right:6} right {wrong:4} WRONG  {rates}{refused}")
            if way in ("auto", "full"):
                good &= wrong == 0 and count["lost"] == 0
            if way == "renamed":
                good &= right >= 0.8 * fed and right >= 0.98 * (right + wrong)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
