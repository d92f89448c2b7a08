#!/usr/bin/env python3
"""Kills and errors at every call of a run that touches files, and what is left then.

usage: inject.py [--full] [--bin PATH] [--strace PATH] [--work DIR] [--only WORD]

Every run is traced once; then it is repeated, once for every call of every kind that it made: killed there, or with that
call answered by an error. After each run every name stands for a whole file, old or new, or for nothing; after an error the
old files are all there or all replaced; what is left besides is hidden, and the next run clears it away or names it; an
error that counts makes the status one that says so. Without --full: a few calls of each kind, which takes less than a
minute and is what CI runs. It needs strace, and a file system whose errors are strace's alone.
"""

import argparse
import collections
import json
import os
import re
import random
import shutil
import struct
import subprocess
import sys
import tempfile

# Calls that name, write, read or flush files. Others (memory, threads, time) are no matter of files.
CALLS = (
    "openat read pread64 write pwrite64 ftruncate fallocate copy_file_range sendfile fsync close lseek fstat fstatfs newfstatat "
    "statx getdents64 readlink link linkat rename renameat renameat2 unlink unlinkat rmdir mkdir flock"
).split()
ERRORS = ["EIO", "ENOSPC", "EMFILE", "EPERM"]
# What may be answered by an error without the run failing: the run has another way, or nothing depends on it.
FORGIVEN = {
    "close", "lseek", "readlink", "fstatfs", "fallocate", "flock", "link", "linkat", "rename", "renameat", "renameat2", "read",
    "copy_file_range", "sendfile", "openat", "statx", "fstat", "newfstatat", "getdents64", "mkdir", "unlink", "unlinkat", "rmdir",
    "write",
}


def save(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        shape, values = values
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def model(seed):
    numbers = random.Random(seed)
    many = lambda count: [numbers.uniform(-1, 1) for _ in range(count)]
    return {
        "conv.weight": ([4, 3, 3, 3], many(108)),
        "bn.weight": ([4], many(4)),
        "bn.bias": ([4], many(4)),
        "bn.running_mean": ([4], many(4)),
        "bn.running_var": ([4], [abs(number) + 0.1 for number in many(4)]),
    }


def sharded(folder, seed, shards=3):
    os.makedirs(folder, exist_ok=True)
    parts, weight_map = collections.defaultdict(dict), {}
    for number, (name, tensor) in enumerate(model(seed).items()):
        shard = f"model-{number % shards + 1:05}-of-{shards:05}.safetensors"
        parts[shard][name], weight_map[name] = tensor, shard
    for shard, tensors in parts.items():
        save(os.path.join(folder, shard), tensors, {"format": "pt"})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


def zoo(folder):
    os.makedirs(os.path.join(folder, "a"), exist_ok=True)
    save(os.path.join(folder, "one.safetensors"), model(3), {"format": "pt"})
    save(os.path.join(folder, "a", "model.safetensors"), model(4), {"format": "pt"})
    with open(os.path.join(folder, "a", "config.json"), "w") as file:
        file.write('{"batch_norm_eps": 0.001}')
    sharded(os.path.join(folder, "b"), 5, 2)


def tree(folder):
    """Every visible file below a folder with its bytes, and every hidden path of ours."""
    files, hidden = {}, []
    for place, folders, names in os.walk(folder):
        inside = os.path.relpath(place, folder)
        for name in list(folders):
            if name.startswith(".bnfold-"):
                hidden.append(os.path.normpath(os.path.join(inside, name)))
                folders.remove(name)
        for name in names:
            path = os.path.normpath(os.path.join(inside, name))
            if name.startswith(".bnfold-"):
                hidden.append(path)
            else:
                with open(os.path.join(place, name), "rb") as file:
                    files[path] = file.read()
    return files, hidden


class Case:
    """One command over one output."""

    def __init__(self, args, name, source, output, options, has_old):
        self.args, self.name, self.source, self.output, self.options = args, name, source, output, options
        self.has_old, self.out = has_old, os.path.join(args.work, "out")
        self.old, self.new = {}, {}

    def command(self, more=()):
        output = os.path.join(self.out, self.output)
        return [self.args.bin, "--device", "cpu", "--jobs", "1", "--input", self.source, "--output", output, *self.options, *more]

    def reset(self):
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        for path, content in self.old.items():
            path = os.path.join(self.out, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)

    def prepare(self):
        """The output before and after, and how many calls of each kind there are."""
        self.reset()
        if self.has_old:
            options = [option for option in self.options if option != "--force"]
            old = [word for word in self.command(["--eps", "0.05"]) if word not in self.options or word in options]
            run(old).check_returncode()
            self.old = tree(self.out)[0]
            self.reset()
        log = os.path.join(self.args.work, "trace")
        traced = run([self.args.strace, "-f", "-o", log, "-e", "trace=" + ",".join(CALLS), *self.command()])
        assert traced.returncode == 0, traced.stderr
        self.new, hidden = tree(self.out)
        assert not hidden, hidden
        calls = collections.Counter()
        with open(log, errors="replace") as file:
            for line in file:
                found = re.match(r"\d+\s+(\w+)\(", line)
                if found:
                    calls[found.group(1)] += 1
        return calls

    def attempt(self, call, at, what):
        self.reset()
        inject = f"inject={call}:{what}:when={at}"
        filtered = ["-e", f"trace={call}", "-e", inject]
        return run([self.args.strace, "-f", "-qqq", "-o", "/dev/null", *filtered, *self.command()])

    def judge(self, call, at, what, ended):
        """What is wrong with what is left, in words."""
        files, hidden = tree(self.out)
        problems = []
        if "panicked" in ended.stderr or "internal error" in ended.stderr:
            problems.append("a panic: " + ended.stderr.strip().splitlines()[0])
        for path, content in files.items():
            if content not in (self.old.get(path), self.new.get(path)):
                problems.append(f"{path} is neither the old file nor the new one ({len(content)} bytes)")
        is_kill = what.startswith("signal")
        kept = {path: content for path, content in files.items() if self.old.get(path) == content}
        made = {path: content for path, content in files.items() if self.new.get(path) == content}
        if not is_kill:
            for path in self.old:
                if path not in files and not named_in(path, hidden, self.out, ended.stderr):
                    problems.append(f"{path} is gone and nothing says where it is")
            if ended.returncode == 0 and made != self.new and not self.options_forgive(files):
                problems.append("status 0, and not everything is there")
            if ended.returncode not in (0, 1, 2, 101):
                problems.append(f"status {ended.returncode}")
            if ended.returncode and not ended.stderr.strip():
                problems.append("an error without a word")
        for index in (path for path in files if path.endswith(".index.json")):
            folder = os.path.dirname(index)
            shards = {os.path.join(folder, shard) for shard in set(json.loads(files[index])["weight_map"].values())}
            for version in (self.old, self.new):
                if files[index] == version.get(index) and self.old.get(index) != self.new.get(index):
                    if any(files.get(os.path.normpath(shard)) != version.get(os.path.normpath(shard)) for shard in shards):
                        problems.append(f"{index} describes other shards than those beside it")
        problems += self.judge_rerun(hidden, is_kill)
        return [f"{self.name}: {call} number {at}, {what}: {problem}" for problem in problems]

    def options_forgive(self, files):
        return False

    def judge_rerun(self, hidden, is_kill):
        """The same command once more does what is left to do; what is hidden is cleared away or named."""
        force = [] if "--force" in self.options or not self.old else ["--force"]
        again = run(self.command(force))
        files, left = tree(self.out)
        problems = []
        if again.returncode and not self.is_refusal(again):
            problems.append("the next run fails: " + again.stderr.strip()[-300:])
        if again.returncode == 0 and {path: files.get(path) for path in self.new} != self.new:
            problems.append("the next run does not do what is left")
        for path in left:
            if os.path.basename(path) not in again.stderr and os.path.basename(path) not in hidden_lock():
                problems.append(f"{path} is left, cleared by no run and named by none")
        return problems

    def is_refusal(self, again):
        """A single file that is there already is not replaced."""
        return "--force" not in self.options and "exists already" in again.stderr and not self.is_resumable()

    def is_resumable(self):
        return self.name.startswith(("sharded", "zoo"))


def hidden_lock():
    return {".bnfold-lock"}


def named_in(path, hidden, out, stderr):
    """Whether an old file lies under a hidden folder that the error names."""
    for folder in hidden:
        inside = os.path.join(out, folder, os.path.basename(path))
        if os.path.exists(inside) and os.path.basename(folder) in stderr:
            return True
    return False


def run(command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)


def cases(args):
    single, shards, many = (os.path.join(args.work, name) for name in ("single.safetensors", "sharded", "zoo"))
    save(single, model(1), {"format": "pt"})
    sharded(shards, 2)
    zoo(many)
    index = os.path.join(shards, "model.safetensors.index.json")
    for force in ([], ["--force"]):
        word = "with --force" if force else "without"
        yield Case(args, f"single {word}", single, "x.safetensors", force, bool(force))
        yield Case(args, f"sharded {word}", index, "s/", force, bool(force))
        yield Case(args, f"zoo {word}", many, "z/", force + ["--copy-sidecars"], bool(force))


def moments(count, full):
    """Which of `count` calls: all, or the first, some and the last."""
    if full or count <= 2:
        return range(1, count + 1)
    return sorted({1, count // 2, count})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every call instead of a few of each kind")
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--strace", default="strace")
    parser.add_argument("--work", help="a folder for what is written; by default a temporary one")
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    problems, tried = [], collections.Counter()
    with tempfile.TemporaryDirectory(dir=args.work) as args.work:
        for case in cases(args):
            if args.only not in case.name:
                continue
            calls = case.prepare()
            errors = ERRORS if args.full else ERRORS[:1]
            kinds = calls if args.full else [call for call in calls if call in CALLS]
            for call in sorted(kinds):
                for at in moments(calls[call], args.full):
                    for what in ["signal=KILL"] + [f"error={error}" for error in errors]:
                        if what == "error=EMFILE" and call not in ("openat",):
                            continue
                        ended = case.attempt(call, at, what)
                        tried["kills" if what.startswith("signal") else "errors"] += 1
                        found = case.judge(call, at, what, ended)
                        problems += found
                        for problem in found:
                            print(problem, flush=True)
            print(f"{case.name}: {sum(calls.values())} calls of {len(calls)} kinds", file=sys.stderr, flush=True)
    print(f"{tried['kills']} kills, {tried['errors']} errors; {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
