#!/usr/bin/env python3
"""Kills and errors at every call of a run that touches files, and what is left then.

usage: inject.py [--full] [--bin PATH] [--work DIR] [--only WORD] [--jobs N]

Every run is traced once; then it is repeated, once for every call that it made: killed there, with that call answered by an
error, and with that call and all later ones of its kind answered by one. After each run every name stands for a whole file, old
or new, or for nothing. After an error the old files are where they were, or all replaced, or the error says where they are. An
index never describes other shards than those beside it. The next run does what is left to do without --force, and what is
hidden is cleared away or named. Nothing panics, and no error ends with status 0 unless all is there.

Runs: one model, one of several shards, a folder of models; with and without --force; with outputs that have no name while
they are written, with outputs that have one, and where the file system knows neither links nor renames that do not replace.
Without --full a few calls of each kind are tried, which takes less than a minute and is what CI does. It needs strace.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

# Calls that name, write, read or flush files. Others (memory, threads, time) are no matter of files.
CALLS = (
    "openat read pread64 write pwrite64 ftruncate fallocate copy_file_range sendfile fsync close lseek fstat fstatfs newfstatat "
    "statx getdents64 readlink link linkat rename renameat renameat2 unlink unlinkat rmdir mkdir flock"
).split()

# Calls that are also refused for good from some moment on.
FOR_GOOD = "link linkat rename renameat renameat2 unlink unlinkat rmdir mkdir fsync openat flock".split()

ERRORS = {"openat": ["EIO", "EMFILE", "EACCES"], "write": ["EIO", "ENOSPC"], "pwrite64": ["EIO", "ENOSPC"]}

# How outputs are made: answers that the system gives throughout. Where a file of no name cannot be found under /proc, outputs
# are named; EINVAL is what it says of all that is no link.
NAMED = {"readlink": "EINVAL"}
LINKLESS = {"readlink": "EINVAL", "link": "EPERM", "linkat": "EPERM", "renameat2": "EINVAL"}


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

    def __init__(self, args, name, source, output, options, answers):
        self.args, self.name, self.source, self.output, self.options = args, name, source, output, options
        self.answers, self.old, self.new = answers, {}, {}

    def command(self, out, more=()):
        output = os.path.join(out, self.output)
        return [self.args.bin, "--device", "cpu", "--jobs", "1", "--input", self.source, "--output", output, *self.options, *more]

    def place(self):
        """A folder of this thread, with what is there before the run."""
        out = os.path.join(self.args.work, f"out-{threading.get_ident()}")
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        for path, content in self.old.items():
            path = os.path.join(out, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        return out

    def strace(self, out, *more):
        answers = [f"inject={call}:error={error}:when=1+" for call, error in self.answers.items()]
        filters = [word for answer in (*answers, *more) for word in ("-e", answer)]
        return run(["strace", "-f", "-qqq", *filters, *self.command(out)])

    def prepare(self):
        """What is there before and after, and how many calls of each kind there are between."""
        if "--force" in self.options:
            out = self.place()
            options, self.options = self.options, [word for word in self.options if word != "--force"]
            run(self.command(out, ["--eps", "0.05"])).check_returncode()
            self.old, self.options = tree(out)[0], options
        out = self.place()
        traced = self.strace(out, "trace=" + ",".join(CALLS))
        assert traced.returncode == 0, traced.stderr
        self.new, hidden = tree(out)
        assert not hidden, hidden
        lines = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", traced.stderr, re.MULTILINE)
        return collections.Counter(lines)

    def unflushed(self):
        """Names that are on disk only when the system likes: every new folder and file needs its folder flushed after it."""
        out = self.place()
        traced = self.strace(out, "trace=mkdir,linkat,rename,renameat2,fsync")
        lines = [line for line in traced.stderr.splitlines() if re.search(r"= 0$", line)]
        given = r'(?:mkdir|linkat|rename|renameat2)\(.*"([^"]+)"'
        for number, line in enumerate(lines):
            name = re.search(given, line)
            if name and ".bnfold-" not in name.group(1) and not any("fsync(" in later for later in lines[number:]):
                yield f"{self.name}: {name.group(1)} is not flushed"
            # A hidden folder is flushed with what is moved into it.
            is_new = name and "mkdir(" in line and ".bnfold-" not in name.group(1)
            if is_new and not any("fsync(" in later for later in lines[number + 1 : number + 2]):
                yield f"{self.name}: the new folder {name.group(1)} is not flushed into the one above it"

    def attempt(self, call, what):
        """Runs with one more answer, and says what is wrong with what is left."""
        out = self.place()
        ended = self.strace(out, f"trace={call}", f"inject={call}:{what}")
        said = re.sub(r"^(\[pid +\d+\] )?\w+\(.*|^\+\+\+.*|^---.*|^strace: .*", "", ended.stderr, flags=re.MULTILINE).strip()
        if ended.returncode == 127:
            return []  # The system's loader did not get as far as the program.
        problems = self.judge(out, said, ended.returncode, what)
        return [f"{self.name}: {call}, {what}: {problem}" for problem in problems]

    def judge(self, out, said, status, what):
        files, hidden = tree(out)
        is_kill = what.startswith("signal")
        if "panicked" in said or "internal error" in said:
            yield "a panic: " + said
        for path, content in files.items():
            # Without links a name is taken by an empty file first.
            is_held = is_kill and (self.answers is LINKLESS or self.args.linkless) and not content
            if content not in (self.old.get(path), self.new.get(path)) and not is_held:
                yield f"{path} is neither the old file nor the new one ({len(content)} bytes)"
        if not is_kill:
            for path in self.old:
                if path not in files and not is_told(path, hidden, out, said):
                    yield f"{path} is gone and nothing says where it is: {said[-300:]}"
            if status == 0 and {path: files.get(path) for path in self.new} != self.new:
                yield "status 0, and not everything is there"
            if status not in (0, 1, 2):
                yield f"status {status}"
            if status and not said:
                yield "an error without a word"
        yield from self.judge_indices(files)
        yield from self.judge_rerun(out, files)

    def judge_indices(self, files):
        for index in (path for path in files if path.endswith(".index.json") and files[path]):
            names = set(json.loads(files[index])["weight_map"].values())
            shards = [os.path.normpath(os.path.join(os.path.dirname(index), name)) for name in names]
            versions = [version for version in (self.old, self.new) if version.get(index) == files[index]]
            if not any(all(files.get(shard) == version.get(shard) for shard in shards) for version in versions):
                yield f"{index} describes other shards than those beside it"

    def judge_rerun(self, out, files):
        """The same command once more does what is left to do; what is hidden is cleared away, or named."""
        again = run(self.command(out))
        after, left = tree(out)
        is_there = {path: after.get(path) for path in self.new} == self.new
        # Without --force an output that is complete is not replaced; nor is an empty file that a kill has left.
        refuses = "exists already" in again.stderr and (is_there or any(not content for content in files.values()))
        if again.returncode and not refuses:
            yield "the next run fails: " + again.stderr.strip()[-300:]
        if again.returncode == 0 and not is_there:
            yield "the next run does not do what is left"
        for path in left:
            if os.path.basename(path) not in again.stderr:
                yield f"{path} is left, cleared by no run and named by none"


def is_told(path, hidden, out, said):
    """Whether an old file lies in a hidden folder that an error names."""
    places = [os.path.join(out, folder) for folder in hidden]
    return any(os.path.exists(os.path.join(place, os.path.basename(path))) and place in said for place in places)


def run(command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)


def cases(args):
    single, shards, many = (os.path.join(args.work, name) for name in ("single.safetensors", "sharded", "zoo"))
    save(single, model(1), {"format": "pt"})
    sharded(shards, 2)
    zoo(many)
    index = os.path.join(shards, "model.safetensors.index.json")
    for kind, answers in (("", {}), (", named", NAMED), (", linkless", LINKLESS)):
        for force in ([], ["--force"]):
            word = ("with --force" if force else "without") + kind
            yield Case(args, f"single {word}", single, "x.safetensors", force, answers)
            yield Case(args, f"sharded {word}", index, "s/", force, answers)
            yield Case(args, f"zoo {word}", many, "z/", [*force, "--copy-sidecars"], answers)


def moments(count, full):
    """Which of `count` calls: all, or the middle and the last."""
    return range(1, count + 1) if full else sorted({(count + 1) // 2, count})


def attempts(case, calls, full):
    for call, count in sorted(calls.items()):
        if call in case.answers:
            continue
        if call == "statx" and case.name == "zoo without" and not full:
            # What a path leads to is asked in many places, and each of them has its own answer to no answer.
            yield from ((call, f"error=EIO:when={at}") for at in range(1, count + 1))
            continue
        for at in moments(count, full):
            yield call, f"signal=KILL:when={at}"
            for error in ERRORS.get(call, ["EIO", "EPERM"] if full else ["EIO"]):
                yield call, f"error={error}:when={at}"
            if call in FOR_GOOD:
                yield call, f"error=EIO:when={at}+"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every call instead of a few of each kind")
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--work", help="a folder for what is written; by default a temporary one")
    parser.add_argument("--linkless", action="store_true", help="the file system of --work knows no links: exFAT, for one")
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    tried, problems = collections.Counter(), 0
    with tempfile.TemporaryDirectory(dir=args.work) as args.work, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for case in cases(args):
            if args.only not in case.name:
                continue
            calls = case.prepare()
            unflushed = list(case.unflushed())
            problems += len(unflushed)
            print(*unflushed, sep="\n", end="\n" if unflushed else "")
            wanted = list(attempts(case, calls, args.full))
            tried.update("kills" if what.startswith("signal") else "errors" for _, what in wanted)
            for found in pool.map(lambda attempt: case.attempt(*attempt), wanted):
                problems += len(found)
                print(*found, sep="\n", end="\n" if found else "", flush=True)
            print(f"{case.name}: {sum(calls.values())} calls of {len(calls)} kinds", file=sys.stderr, flush=True)
    print(f"{tried['kills']} kills, {tried['errors']} errors: {problems} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
