#!/usr/bin/env python3
"""Times folders of many small models, all beside one config.json, or each beside its own.

usage: flat_folder.py [--models N ...] [--bin PATH] [--work DIR]

Prints seconds, and milliseconds a model: first into an empty folder, then again with --force. If a model takes longer the
more of them there are, something reads the folder once for each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from inject import model, save


def make(folder, models, is_flat):
    for number in range(models):
        place = folder if is_flat else os.path.join(folder, f"{number:05}")
        os.makedirs(place, exist_ok=True)
        save(os.path.join(place, f"m{number:05}.safetensors" if is_flat else "model.safetensors"), model(number), {"format": "pt"})
        if not is_flat or number == 0:
            with open(os.path.join(place, "config.json"), "w") as file:
                file.write('{"batch_norm_eps": 0.001}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--work", help="a folder for what is written; by default a temporary one")
    args = parser.parse_args()
    for is_flat in (True, False):
        for models in args.models:
            with tempfile.TemporaryDirectory(dir=args.work) as folder:
                source, output = os.path.join(folder, "in"), os.path.join(folder, "out")
                make(source, models, is_flat)
                command = [os.path.abspath(args.bin), "--device", "cpu", "--quiet", "--input", source, "--output", output]
                for options in (["--no-sync"], ["--no-sync", "--force"], ["--force"]):
                    began = time.perf_counter()
                    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
                    took = time.perf_counter() - began
                    kind = "one config.json" if is_flat else "one config.json each"
                    print(f"{models} models, {kind}, {' '.join(options)}: {took:.2f} s, {1000 * took / models:.2f} ms a model", flush=True)


if __name__ == "__main__":
    sys.exit(main())
