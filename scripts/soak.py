#!/usr/bin/env python3
"""Folds thousands of mixed models in one process: its memory and its open files do not grow.

usage: soak.py [--models N] [--jobs N] [--device DEVICE] [--bin PATH] [--work DIR]

Of ten models four are small, two are sharded, two are trained digit classifiers, one is of 150 kB in half as many numbers, and
one is cut short, so that it fails. While the process runs its resident memory and its descriptors are counted, by how many
models are done. Prints a line for each tenth; the exit status is 1 if the last third has more of either than the second.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from inject import model, save, sharded

DIGITS = os.path.join(os.path.dirname(__file__), "..", "tests", "data", "digits-resnet.safetensors")
FAILING = 9


def wide(seed):
    tensors = model(seed)
    channels, values = 64, tensors["conv.weight"][1]
    norm = {name: ([channels], many * (channels // 4)) for name, (_, many) in tensors.items() if name != "conv.weight"}
    return {"conv.weight": ([channels, 64, 3, 3], (values * 342)[: channels * 64 * 9]), **norm}


def make(folder, count):
    for number in range(count):
        place, kind = os.path.join(folder, f"{number:05}"), number % 10
        os.makedirs(place)
        path = os.path.join(place, "model.safetensors")
        if kind in (0, 1):
            sharded(place, number)
        elif kind in (2, 3):
            shutil.copy(DIGITS, path)
        else:
            save(path, wide(number) if kind == 4 else model(number), {"format": "pt", "number": str(number)})
        if kind == FAILING:
            with open(path, "r+b") as file:
                file.truncate(300)


def look(process):
    """Resident bytes and open files of a process, if it is still there."""
    try:
        with open(f"/proc/{process.pid}/statm") as file:
            pages = int(file.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{process.pid}/fd"))
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def run(args, source, output):
    """What was seen of the process, each with how many models were done, and how many were in the end."""
    command = [os.path.abspath(args.bin), "--device", args.device, "--no-sync", "--quiet", "--format", "json"]
    command += ["--jobs", str(args.jobs), "--input", source, "--output", output]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    done, seen, ended = [0], [], threading.Event()

    def watch():
        while not ended.is_set():
            found = look(process)
            if found and found[0]:
                seen.append((done[0], *found))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for line in process.stdout:
        done[0] += line.startswith(b"{")
    ended.set()
    watcher.join()
    return seen, done[0], process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--work", help="a folder for what is written; by default a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        source, output = os.path.join(folder, "in"), os.path.join(folder, "out")
        make(source, args.models)
        seen, done, status = run(args, source, output)
        results = sum(1 for _ in os.scandir(output))
    failing = len(range(FAILING, args.models, 10))
    assert (done, status) == (args.models, 1), (done, status)
    assert results == args.models - failing, results

    def middle(begin, end, column):
        part = [one[column] for one in seen if begin <= one[0] / args.models < end]
        return statistics.median(part) if part else float("nan")

    for tenth in range(10):
        memory, files = (middle(tenth / 10, (tenth + 1) / 10, column) for column in (1, 2))
        print(f"{(tenth + 1) * args.models // 10} models: {memory / 2**20:.1f} MiB, {files:.0f} open files")
    peak, most = max(one[1] for one in seen), max(one[2] for one in seen)
    print(f"at most {peak / 2**20:.1f} MiB and {most} open files, in {len(seen)} looks")
    early, late = ([middle(begin, end, column) for column in (1, 2)] for begin, end in ((1 / 3, 2 / 3), (2 / 3, 1)))
    grown = [name for name, before, after in zip(("memory", "open files"), early, late) if not after <= 1.1 * before]
    if grown:
        print(f"error: grown: {', '.join(grown)}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
