#!/usr/bin/env python3
"""Times whole processes against `cp`, in turn, and prints the tables of docs/performance.md.

    scripts/measure.py [--bin target/release/bnfold-gpu] [--folder target/measure] [--rounds 7] [--pytorch]

Stage:  after the release build; it sees the program only through its command line.
In:     nothing; checkpoints of random weights in the shapes of MobileNetV2 and of ResNet-152, also wider and deeper, are
        made in FOLDER once (4.3 GB, and as much again for results), with two zoos: 20 of ResNet-18 (0.9 GB), and 2,000
        small ones.
Out:    for each checkpoint the medians of `cp` and of folding it (verified; --no-sync), their ratio, what a GB takes and
        the most memory that was resident; then the same with the flush to disk, for the zoos beside `cp -r`, on an adapter
        (of a software one the figures say nothing about a GPU; what the host adds to its kernels is the total less the
        kernels' time), and with --pytorch beside load_file, fuse_conv_bn_weights and save_file in one
        process. A ratio is the median of the rounds' ratios: what else the machine does meets both sides alike.

Needs: numpy; torch, torchvision and safetensors for --pytorch. Some minutes, of which the machine should be quiet.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIZES = {"F32": 4, "F16": 2, "BF16": 2}


# ---- the checkpoints ------------------------------------------------------------------------------------------------


def norm(name, channels):
    return [(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")]


def resnet(blocks, width=1):
    """torchvision's names and shapes; (3, 8, 36, 3) is ResNet-152."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    inputs = 64
    for layer, (count, channels) in enumerate(zip(blocks, (64, 128, 256, 512)), 1):
        channels *= width
        for index in range(count):
            block = f"layer{layer}.{index}"
            shapes = [(channels, inputs, 1, 1), (channels, channels, 3, 3), (4 * channels, channels, 1, 1)]
            for number, shape in enumerate(shapes, 1):
                yield f"{block}.conv{number}.weight", shape
                yield from norm(f"{block}.bn{number}", shape[0])
            if index == 0:
                yield f"{block}.downsample.0.weight", (4 * channels, inputs, 1, 1)
                yield from norm(f"{block}.downsample.1", 4 * channels)
            inputs = 4 * channels
    yield "fc.weight", (1000, inputs)
    yield "fc.bias", (1000,)


def resnet18():
    """torchvision's names and shapes."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    inputs = 64
    for layer, channels in enumerate((64, 128, 256, 512), 1):
        for index in range(2):
            block = f"layer{layer}.{index}"
            for number, shape in enumerate([(channels, inputs, 3, 3), (channels, channels, 3, 3)], 1):
                yield f"{block}.conv{number}.weight", shape
                yield from norm(f"{block}.bn{number}", channels)
            if inputs != channels:
                yield f"{block}.downsample.0.weight", (channels, inputs, 1, 1)
                yield from norm(f"{block}.downsample.1", channels)
            inputs = channels
    yield "fc.weight", (1000, inputs)
    yield "fc.bias", (1000,)


def small():
    """A classifier of eight layers."""
    for index in range(8):
        yield f"features.{3 * index}.weight", (16, 16, 3, 3)
        yield from norm(f"features.{3 * index + 1}", 16)
    yield "classifier.weight", (10, 16)


def mobilenet():
    """torchvision's MobileNetV2."""

    def layer(name, index, shape):
        yield f"{name}.{index}.weight", shape
        yield from norm(f"{name}.{index + 1}", shape[0])

    yield from layer("features.0", 0, (32, 3, 3, 3))
    inputs, number = 32, 1
    settings = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    for ratio, outputs, count in settings:
        for _ in range(count):
            name, hidden, place = f"features.{number}.conv", inputs * ratio, 0
            if ratio != 1:
                yield from layer(f"{name}.0", 0, (hidden, inputs, 1, 1))
                place = 1
            yield from layer(f"{name}.{place}", 0, (hidden, 1, 3, 3))
            yield from layer(name, place + 1, (outputs, hidden, 1, 1))
            inputs, number = outputs, number + 1
    yield from layer("features.18", 0, (1280, inputs, 1, 1))
    yield "classifier.1.weight", (1000, 1280)
    yield "classifier.1.bias", (1000,)


# Name, what it is, tensors, element type.
CHECKPOINTS = [
    ("mobilenet", "MobileNetV2, F32", mobilenet(), "F32"),
    ("resnet152", "ResNet-152, F32", resnet((3, 8, 36, 3)), "F32"),
    ("bf16", "a deeper ResNet, BF16", resnet((3, 8, 82, 4)), "BF16"),
    ("f16", "a deeper ResNet, F16", resnet((3, 8, 82, 4)), "F16"),
    ("wide", "a wider ResNet-152, F32", resnet((3, 8, 36, 5), 2), "F32"),
    ("deep", "a wider and deeper one, F32", resnet((3, 8, 110, 5), 2), "F32"),
]


def values(name, count, generator):
    if name.endswith("running_var"):
        return generator.random(count, dtype=np.float32) + 0.1
    if ".bn" in name and name.endswith("weight"):
        return generator.random(count, dtype=np.float32) + 0.5
    return generator.standard_normal(count, dtype=np.float32) * 0.05


def make(path, tensors, dtype):
    generator, tensors = np.random.default_rng(1), sorted(tensors)
    header, offset = {}, 0
    for name, shape in tensors:
        size = int(np.prod(shape)) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    unfinished = path.with_suffix(".tmp")
    with open(unfinished, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors:
            new = values(name, int(np.prod(shape)), generator)
            if dtype == "F16":
                new = new.astype(np.float16)
            elif dtype == "BF16":
                new = (new.view(np.uint32) >> 16).astype(np.uint16)
            file.write(new.tobytes())
    unfinished.rename(path)


def make_zoo(folder, tensors, count):
    """Models of the same shapes, no two alike: their last element tells them apart."""
    folder.mkdir()
    first = folder / "0000.safetensors"
    make(first, tensors, "F32")
    content = bytearray(first.read_bytes())
    for number in range(1, count):
        content[-4:] = np.float32(number).tobytes()
        (folder / f"{number:04}.safetensors").write_bytes(content)


# ---- the measurement ------------------------------------------------------------------------------------------------


class Measured:
    """A command's times, in the order of the rounds, and the most memory that it had resident."""

    def __init__(self):
        self.seconds, self.mebibytes = [], 0

    @property
    def median(self):
        return statistics.median(self.seconds)

    def ratio(self, other):
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds))


def in_turn(commands, output, rounds):
    """Runs the commands in turn, one round more than asked for, of which the first warms the cache."""
    measured = [Measured() for _ in commands]
    for number in range(rounds + 1):
        for command, found in zip(commands, measured):
            remove(output)
            began = time.perf_counter()
            process = subprocess.Popen(["sh", "-c", f"exec {command}"] if "&&" not in command else ["sh", "-c", command],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            if status:
                sys.exit(f"{command}: {said.decode().strip()}")
            if number:
                found.seconds.append(seconds)
                found.mebibytes = max(found.mebibytes, usage.ru_maxrss / 1024)
    remove(output)
    return measured


def remove(output):
    if output.is_dir():
        shutil.rmtree(output)
    output.unlink(missing_ok=True)


def zoos(arguments):
    """Folders in one call, beside `cp -r`."""
    output = arguments.folder / "results"
    for name, what, tensors, count in [("resnet18", "ResNet-18", resnet18(), 20), ("small", "a small classifier", small(), 2000)]:
        zoo = arguments.folder / f"zoo-{name}"
        if not zoo.exists():
            make_zoo(zoo, list(tensors), count)
        fold = f"{shlex.quote(str(arguments.bin))} --input {zoo} --output {output} --eps 1e-5 --no-sync --device cpu"
        ours, cp = in_turn([fold, f"cp -r {zoo} {output}"], output, arguments.rounds)
        size = sum(path.stat().st_size for path in zoo.iterdir()) / 1e6
        print(
            f"{count} of {what}, {size:.0f} MB: {ours.median:.3f} s, {ours.ratio(cp):.2f} of `cp -r`, "
            f"{1e3 * ours.median / count:.2f} ms a model, {ours.mebibytes:.0f} MiB resident",
            flush=True,
        )


def adapter(arguments):
    """What the host adds to the kernels, by `bench`, whose adapter has a clock."""
    for name, what in [("resnet152", "ResNet-152"), ("wide", "a wider ResNet-152")]:
        path = arguments.folder / f"{name}.safetensors"
        command = [arguments.bin, "bench", "--device", "gpu", "--format", "json", "--runs", str(arguments.rounds)]
        run = subprocess.run([*command, "--input", path, "--output", arguments.folder], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        report = json.loads(run.stdout)
        seconds = {taken["step"]: taken["seconds"]["samples"] for taken in report["measurements"]}
        if "gpu_kernels" in seconds:
            host = statistics.median(gpu - kernels for gpu, kernels in zip(seconds["gpu"], seconds["gpu_kernels"]))
            cpu = statistics.median(seconds["cpu"])
            overlap = report["shares"]["overlap"]
            print(
                f"{what} on {report['adapter']['name']}: {statistics.median(seconds['gpu']):.3f} s, less its kernels "
                f"{host:.3f} s, {host / cpu:.2f} of the CPU path's {cpu:.3f} s; overlap {100 * overlap:.0f} %",
                flush=True,
            )


PYTORCH = """
import sys, time, torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.fusion import fuse_conv_bn_weights as fuse
began = time.perf_counter()
state = load_file(sys.argv[1])
for norm in [name[: -len(".running_var")] for name in state if name.endswith(".running_var")]:
    conv = norm.replace("downsample.1", "downsample.0").replace("bn", "conv")
    parts = [state.pop(f"{norm}.{part}") for part in ("running_mean", "running_var", "weight", "bias")]
    mean, var, gamma, beta = parts
    fused = fuse(state[f"{conv}.weight"], None, mean, var, 1e-5, gamma, beta)
    state[f"{conv}.weight"], state[f"{conv}.bias"] = (tensor.detach().contiguous() for tensor in fused)
save_file(state, sys.argv[2])
print(time.perf_counter() - began)
"""


def pytorch(path, output, rounds):
    seconds = []
    for _ in range(rounds):
        remove(output)
        run = subprocess.run([sys.executable, "-c", PYTORCH, path, output], capture_output=True, text=True, check=True)
        seconds.append(float(run.stdout))
    output.unlink()
    return statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release/bnfold-gpu"))
    parser.add_argument("--folder", type=Path, default=Path("target/measure"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pytorch", action="store_true", help="PyTorch, too")
    arguments = parser.parse_args()
    if not shutil.which(arguments.bin):
        sys.exit(f"{arguments.bin} is missing: cargo build --release")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    output, copy = arguments.folder / "result.safetensors", arguments.folder / "result.safetensors"
    fold = lambda path, options: f"{shlex.quote(str(arguments.bin))} --input {path} --output {output} --eps 1e-5 {options}"
    print("| checkpoint | bytes | seconds | of `cp` | a GB | resident |\n|---|---|---|---|---|---|", flush=True)
    paths, of_f32 = {}, {}
    for name, what, tensors, dtype in CHECKPOINTS:
        path = paths[name] = arguments.folder / f"{name}.safetensors"
        if not path.exists():
            make(path, tensors, dtype)
        ours, cp = in_turn([fold(path, "--no-sync --device cpu"), f"cp {path} {copy}"], output, arguments.rounds)
        gigabytes = path.stat().st_size / 1e9
        size = f"{gigabytes * 1000:.1f} MB" if gigabytes < 0.1 else f"{gigabytes:.3g} GB" if gigabytes >= 1 else f"{gigabytes * 1000:.0f} MB"
        a_gigabyte = of_f32[name] = ours.median / gigabytes
        print(
            f"| {what} | {size} | {ours.median:.4f} | {ours.ratio(cp):.2f} | {a_gigabyte:.2f} s | {ours.mebibytes:.0f} MiB |",
            flush=True,
        )
    path = paths["resnet152"]
    halves = [f"{name} {of_f32[name] / of_f32['resnet152']:.2f}" for name in ("f16", "bf16")]
    print(f"time of a byte, of that in F32: {', '.join(halves)}")
    flushed = [fold(path, "--device cpu"), f"cp {path} {copy} && sync {copy}"]
    ours, cp = in_turn(flushed, output, arguments.rounds)
    print(f"ResNet-152, flushed: {ours.median:.4f} s, {ours.ratio(cp):.2f} of `cp` and `sync`")
    zoos(arguments)
    devices = subprocess.run([arguments.bin, "devices"], capture_output=True, text=True)
    if "gpu:0" in devices.stdout:
        gpu, cpu = in_turn([fold(path, f"--no-sync --device {device}") for device in ("gpu", "cpu")], output, arguments.rounds)
        print(
            f"ResNet-152 on the adapter: {gpu.median:.4f} s, {gpu.ratio(cpu):.2f} of the CPU path's; "
            f"{gpu.mebibytes:.0f} MiB resident"
        )
        adapter(arguments)
    if arguments.pytorch:
        seconds = pytorch(path, output, max(3, arguments.rounds // 2))
        print(f"ResNet-152 in PyTorch, without its import: {seconds:.2f} s")


if __name__ == "__main__":
    main()
