"""Zoos for fleets, processes that are killed, and what must be true afterwards.

In: a folder. Out: helpers that the tests and scripts/check_ray.py share.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import numpy as np
from safetensors.numpy import save_file

import bnfold_gpu


def make_zoo(folder: Path, count: int, channels: int = 64) -> Path:
    """Models of one layer each, all of them different, some below folders."""
    for number in range(count):
        model = np.random.default_rng(number)
        path = folder / f"series-{number % 7}" / f"model-{number}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"bn.{name}": model.uniform(0.5, 2, channels) for name in ("weight", "running_var")}
        tensors.update({f"bn.{name}": model.normal(0, 1, channels) for name in ("bias", "running_mean")})
        tensors["conv.weight"] = model.normal(0, 0.1, (channels, channels, 3, 3))
        save_file({name: values.astype(np.float32) for name, values in tensors.items()}, path)
    return folder


def files(folder: Path) -> Dict[str, bytes]:
    """Everything below a folder, by its place."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines(manifest: Path) -> List[Dict[str, object]]:
    """The lines of a manifest."""
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def assert_folded(zoo: Path, out: Path, manifest: Path, reference: Path) -> None:
    """Every model has its result, that of one machine, and nothing else is there; the manifest has one line of each."""
    bnfold_gpu.fold_zoo(zoo, reference, eps=1e-5, progress=False)
    found, expected = files(out), files(reference)
    assert sorted(found) == sorted(expected) == sorted(files(zoo))
    assert found == expected
    told = lines(manifest)
    assert [one["input"] for one in told] == sorted(str(zoo / place) for place in expected), "one line a model"
    assert {one["status"] for one in told} <= {"folded", "skipped"}
    assert all(one["layers"] == {"folded": 1, "kept": 0} for one in told if one["status"] == "folded")
    assert all(one["output"] == str(out / Path(str(one["input"])).relative_to(zoo)) for one in told)
    assert not manifest.with_name(manifest.name + ".partial").exists()


def descendants(parent: int) -> Dict[int, str]:
    """The processes below `parent`, with their command lines."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    below = {parent}
    while True:
        more = {pid for pid, above in parents.items() if above in below} - below
        if not more:
            return {pid: commands.get(pid, "") for pid in below - {parent}}
        below |= more


@contextlib.contextmanager
def killing(most: int, pause: float, seed: int = 0) -> Iterator[List[str]]:
    """Kills workers at work and programs under them, in turns, while the block runs; gives what was killed."""
    killed: List[str] = []
    over = threading.Event()
    choice = random.Random(seed)
    signs = {"worker": "ray::fold_model", "program": " fold --quiet --format=json --only="}

    def kill() -> None:
        while len(killed) < most and not over.is_set():
            kind = ("worker", "program")[len(killed) % 2]
            victims = [pid for pid, command in descendants(os.getpid()).items() if signs[kind] in command]
            if not victims:
                time.sleep(0.01)
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(choice.choice(sorted(victims)), signal.SIGKILL)
                killed.append(kind)
            time.sleep(pause)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def after(count: int, act: Callable[[], None]) -> Callable[[object], None]:
    """A callback for outcomes that acts once, after `count` of them."""
    seen: List[object] = []

    def see(outcome: object) -> None:
        seen.append(outcome)
        if len(seen) == count:
            act()

    return see
