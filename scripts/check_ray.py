#!/usr/bin/env python3
"""Folds 100 models on Ray while workers, programs, and then a whole node are killed.

    BNFOLD_GPU=target/release/bnfold-gpu PYTHONPATH=python scripts/check_ray.py [MODELS]

In:     nothing; models are made. Out: what was killed, and exit status 0 if every model has its result once, of the bytes that
        one machine makes, and the manifest one line of each. `python/tests/test_ray.py` does the same with a dozen.
"""

import sys
import tempfile
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import bnfold_gpu  # noqa: E402
from tests.fleet import after, assert_folded, killing, lines, make_zoo  # noqa: E402

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100


def said(what: str, started: float, manifest: Path, killed: str) -> None:
    statuses = [one["status"] for one in lines(manifest)]
    counts = {status: statuses.count(status) for status in sorted(set(map(str, statuses)))}
    print(f"{what}: {killed} killed; {len(statuses)} models: {counts}; {time.monotonic() - started:.0f} s", flush=True)


def one_machine(folder: Path, zoo: Path) -> None:
    """Workers and programs die by SIGKILL, again and again."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    started, manifest, out = time.monotonic(), folder / "one.jsonl", folder / "one"
    page = folder / "one.html"
    with killing(most=COUNT // 3, pause=0.3) as killed:
        bnfold_gpu.ray.fold_zoo(zoo, out, eps=1e-5, manifest=manifest, report=page, retries=12, progress=False)
    ray.shutdown()
    kinds = ", ".join(f"{killed.count(kind)} {kind}s" for kind in ("worker", "program"))
    said("one machine", started, manifest, kinds)
    assert_folded(zoo, out, manifest, folder / "reference")
    assert len(killed) >= COUNT // 5, killed
    text = page.read_text()
    assert all(text.count(f"data-model=\"{model}\" data-tags") == 1 for model in range(COUNT)), "a row of each model"


def two_nodes(folder: Path, zoo: Path) -> None:
    """One of two nodes dies when a third of the models is done."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False)
    dies, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    started, manifest, out = time.monotonic(), folder / "two.jsonl", folder / "two"
    kill = after(COUNT // 3, lambda: cluster.remove_node(dies, allow_graceful=False))
    with killing(most=COUNT // 10, pause=0.5, seed=1) as killed:
        bnfold_gpu.ray.fold_zoo(zoo, out, eps=1e-5, manifest=manifest, retries=12, on_outcome=kill, progress=False)
    alive = [node["NodeManagerPort"] for node in ray.nodes() if node["Alive"]]
    ray.shutdown()
    cluster.shutdown()
    said("two nodes", started, manifest, f"1 of 2 nodes and {len(killed)} processes")
    assert_folded(zoo, out, manifest, folder / "reference")
    assert len(alive) == 2 and dies.node_manager_port not in alive, "the head and one node are left"


with tempfile.TemporaryDirectory() as name:
    made = make_zoo(Path(name) / "zoo", COUNT, channels=192)
    one_machine(Path(name), made)
    two_nodes(Path(name), made)
