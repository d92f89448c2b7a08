"""A zoo folded by several nodes, of which one is unfit, or dies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest
import ray

import bnfold_gpu
from bnfold_gpu import NodeUnfit

from .fleet import after, assert_folded, files, make_zoo


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that takes no tasks; the tests add nodes."""
    from ray.cluster_utils import Cluster

    assert not ray.is_initialized()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def ports_alive() -> List[int]:
    return [node["NodeManagerPort"] for node in ray.nodes() if node["Alive"]]


def test_a_node_that_dies_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    zoo, out, manifest = make_zoo(tmp_path / "zoo", 10, channels=256), tmp_path / "out", tmp_path / "m.jsonl"
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    cluster.wait_for_nodes()
    die = after(3, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
    found = bnfold_gpu.ray.fold_zoo(zoo, out, eps=1e-5, manifest=manifest, on_outcome=die, progress=False)
    assert len(found.outcomes) == 10
    # Ray hears of the death of a node some seconds later.
    deadline = time.monotonic() + 60
    while len(alive := ports_alive()) != 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(alive) == 2 and nodes[0].node_manager_port not in alive, "the head and one node are left"
    assert_folded(zoo, out, manifest, tmp_path / "one")


def test_the_node_without_the_program_is_named_among_others(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    unfit = cluster.add_node(num_cpus=1, env_vars={"BNFOLD_GPU": "/nowhere/bnfold-gpu"})
    cluster.wait_for_nodes()
    with pytest.raises(NodeUnfit, match="BNFOLD_GPU=/nowhere/bnfold-gpu") as refused:
        bnfold_gpu.ray.fold_zoo(make_zoo(tmp_path / "zoo", 2), tmp_path / "out", progress=False)
    assert [f":{unfit.node_manager_port})" in name for name in refused.value.nodes] == [True]
    assert files(tmp_path / "out") == {}
