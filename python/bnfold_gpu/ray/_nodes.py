"""Whether the nodes of a cluster can do their part.

Stage:  before any model is folded.
In:     what a task needs, paths that it reads. Out: nothing, or :class:`NodeUnfit` that names every node that cannot.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any, Dict, Iterator, List, Mapping, Sequence

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .._version import __version__
from ..errors import NodeUnfit
from ._task import unfit_for


def check(inputs: Sequence[str], output: str, needs: Mapping[str, float], options: Mapping[str, Any]) -> None:
    """Asks every node that could get a task. One that joins later is asked by its first task."""
    local = [path for path in inputs if not is_url(path)]
    task = ray.remote(unfit_for)
    with _written_to(output) as written:
        asked = {}
        for node in _able(needs):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            # Without needs of its own it does not wait for what runs there.
            plain = {"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": there}
            asked[_name(node)] = task.options(**plain, runtime_env=options.get("runtime_env")).remote(__version__, [*local, *written])
        problems = {name: _answer(reference) for name, reference in asked.items()}
    unfit = {name: problem for name, problem in problems.items() if problem is not None}
    if unfit:
        raise NodeUnfit(unfit)


def is_url(path: str) -> bool:
    """Whether a path is one of an object store or a web server."""
    return "://" in path


def _able(needs: Mapping[str, float]) -> List[Dict[str, Any]]:
    def has(node: Mapping[str, Any]) -> bool:
        return all(node["Resources"].get(name, 0) >= amount for name, amount in needs.items() if amount)

    return [node for node in ray.nodes() if node["Alive"] and has(node)]


def _name(node: Mapping[str, Any]) -> str:
    # Two nodes may run on one machine.
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}:{node['NodeManagerPort']})"


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        return f"cannot be asked: {error.cause}"
    except RayError:
        # It went away meanwhile; what runs there from now on is Ray's concern.
        return None


@contextlib.contextmanager
def _written_to(output: str) -> Iterator[List[str]]:
    """A file in the output folder for as long as nodes are asked whether they see it; none where that is a URL."""
    if is_url(output):
        yield []
        return
    os.makedirs(output, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=output, prefix=".bnfold-seen-") as file:
        yield [file.name]
