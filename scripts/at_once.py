#!/usr/bin/env python3
"""Runs at the same time on one output, and folders that change while a run is at work.

usage: at_once.py [--trials N] [--bin PATH] [--work DIR]

forced      2, 5 and 12 runs with --force, each with its own eps, on one sharded output: it is the result of one of them
unforced    the same without --force: one has it, the others say so
zoos        several runs over one folder of models, with and without --force, some of them killed: the next run ends it
changed     the input is written to in place, its time put back, while it is read: the result is of one content, or none
removed     the output folder is removed again and again: a result that is reported is there, or was
walked      models come and go while a folder is walked: every result is whole, and nothing panics
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from inject import model, save, sharded, tree, zoo

EPS = ["0.001", "0.01", "0.1"]


def start(args, source, output, *more):
    command = [args.bin, "--device", "cpu", "--no-sync", "--input", source, "--output", output, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")


def end(run):
    said, error = run.communicate(timeout=120)
    assert "panicked" not in error and "internal error" not in error, error
    assert run.returncode in (0, 1, 2, -9), (run.returncode, error)
    return run.returncode, said + error


def one(args, source, output, *more):
    status, said = end(start(args, source, output, *more))
    assert status == 0, said
    return said


def results(args, source, name, *more):
    """What each eps makes of a sharded model."""
    made = []
    for eps in EPS:
        output = os.path.join(args.work, f"{name}-{eps}/")
        one(args, source, output, "--eps", eps, *more)
        made.append(tree(output)[0])
    return made


def forced(args):
    sharded(args.source, 7, 5)
    index = os.path.join(args.source, "model.safetensors.index.json")
    expected = results(args, index, "forced")
    for at_once in (2, 5, 12):
        for _ in range(args.trials):
            runs = [start(args, index, args.out + "/", "--force", "--eps", EPS[run % 3]) for run in range(at_once)]
            assert all(end(run)[0] == 0 for run in runs)
            files, hidden = tree(args.out)
            assert files in expected, f"{at_once} runs: a mix of {sorted(files)}"
            assert not hidden, hidden
        print(f"forced: {args.trials} trials of {at_once} runs at once", flush=True)


def unforced(args):
    sharded(args.source, 7, 5)
    index = os.path.join(args.source, "model.safetensors.index.json")
    expected = results(args, index, "unforced")
    for _ in range(args.trials):
        shutil.rmtree(args.out, ignore_errors=True)
        ended = [end(run) for run in [start(args, index, args.out + "/", "--eps", eps) for eps in EPS]]
        assert sorted(status for status, _ in ended) == [0, 1, 1], ended
        assert tree(args.out) in [(files, []) for files in expected]
    print(f"unforced: {args.trials} trials of 3 runs at once", flush=True)


def zoos(args):
    zoo(args.source)
    one(args, args.source, args.out)
    expected = tree(args.out)
    for trial in range(args.trials):
        force = ["--force"] if trial % 2 else []
        if trial % 4 < 2:
            shutil.rmtree(args.out)
        runs = [start(args, args.source, args.out, *force) for _ in range(4)]
        time.sleep(random.uniform(0, 0.03))
        runs[0].kill()
        runs[1].kill()
        ended = [end(run) for run in runs]
        assert all(status == 0 for status, _ in ended[2:]), ended
        said = one(args, args.source, args.out, *force)
        files, hidden = tree(args.out)
        assert files == expected[0], sorted(files)
        # What a killed run had set aside is named, or was replaced again.
        assert all(os.path.basename(path) in said for path in hidden), (hidden, said)
        shutil.rmtree(args.out) if hidden else None
        os.makedirs(args.out, exist_ok=True)
    print(f"zoos: {args.trials} trials of 4 runs at once, 2 of them killed", flush=True)


def changed(args):
    """Two contents of one length take turns."""
    path, wide = os.path.join(args.work, "changing.safetensors"), model(9)
    contents, expected = [], []
    for factor in (1.0, 2.0):
        tensors = {**wide, "z.weight": ([400_000], [factor] * 400_000)}
        tensors["bn.bias"] = ([4], [factor] * 4)
        save(path, tensors, {"format": "pt"})
        output = os.path.join(args.work, "one.safetensors")
        one(args, path, output, "--no-record", "--force")
        with open(path, "rb") as file, open(output, "rb") as result:
            contents.append(file.read())
            expected.append(result.read())
    output, done, refused = os.path.join(args.work, "changed.safetensors"), 0, 0
    for _ in range(args.trials):
        with open(path, "r+b") as file:
            file.write(contents[0])
        before = os.stat(path)
        run = start(args, path, output, "--no-record", "--force")
        time.sleep(random.uniform(0, 0.012))
        with open(path, "r+b") as file:
            file.write(contents[1])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        status, said = end(run)
        if status == 0:
            with open(output, "rb") as file:
                assert file.read() in expected, "the result is a mix of two contents"
            done += 1
        else:
            assert "while it was read" in said, said
            refused += 1
        if os.path.exists(output):
            os.remove(output)
    print(f"changed: {args.trials} trials, {done} folded and {refused} refused", flush=True)


def removed(args):
    sharded(args.source, 7, 5)
    index = os.path.join(args.source, "model.safetensors.index.json")
    whole = results(args, index, "removed")[0]
    ends = [0, 0]
    for _ in range(args.trials):
        os.makedirs(args.out, exist_ok=True)
        run = start(args, index, args.out + "/", "--eps", EPS[0], "--force")
        time.sleep(random.uniform(0, 0.012))
        was_whole = tree(args.out)[0] == whole
        shutil.rmtree(args.out, ignore_errors=True)
        status, said = end(run)
        ends[status] += 1
        is_whole = os.path.isdir(args.out) and tree(args.out)[0] == whole
        assert status == 1 or was_whole or is_whole or not os.path.isdir(args.out), said
        shutil.rmtree(args.out, ignore_errors=True)
    print(f"removed: {args.trials} trials, {ends[0]} done and {ends[1]} told that they were not", flush=True)


def walked(args):
    zoo(args.source)
    one(args, args.source, args.out)
    expected, stop = tree(args.out)[0], threading.Event()

    def stir():
        while not stop.is_set():
            folder = os.path.join(args.source, f"n{random.randrange(20)}")
            if random.random() < 0.5:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                os.makedirs(folder, exist_ok=True)
                save(os.path.join(folder, "m.safetensors"), model(3), {"format": "pt"})

    stirring = threading.Thread(target=stir)
    stirring.start()
    try:
        for _ in range(args.trials):
            shutil.rmtree(args.out, ignore_errors=True)
            status, said = end(start(args, args.source, args.out))
            assert status in (0, 1), said
            files, hidden = tree(args.out)
            assert not hidden, hidden
            assert all(files.get(path) == content for path, content in expected.items())
            added = [content for path, content in files.items() if path not in expected]
            # Bytes that were written while they were read are none: each is what a whole file gives.
            assert all(json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")]) for file in added)
    finally:
        stop.set()
        stirring.join()
    print(f"walked: {args.trials} trials", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--work", help="a folder for what is written; by default a temporary one")
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    for scene in (forced, unforced, zoos, changed, removed, walked):
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            scene_args = argparse.Namespace(**{**vars(args), "work": folder})
            scene_args.source, scene_args.out = os.path.join(folder, "in"), os.path.join(folder, "out")
            os.makedirs(scene_args.out)
            scene(scene_args)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as problem:
        sys.exit(f"problem: {problem}")
