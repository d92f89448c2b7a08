"""`fold_zoo` on a cluster.

Stage:  the driver: lists models, hands them to Ray, gathers what becomes of them.
In:     paths or URLs, what a task needs, options of the program. Out: a `Zoo`, a manifest, a page.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from concurrent.futures import Future, as_completed
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from .. import _calls
from .._process import error_of, run
from .._progress import Progress
from .._version import __version__
from ..errors import NodeUnfit, UsageError, ZooFailed
from ..options import ModelOptions, PathLike, arguments
from ..plans import Plan
from ..reports import Outcome, Report, Zoo, outcome
from . import _task
from ._manifest import Line, Manifest, replace
from ._nodes import check, is_url

if TYPE_CHECKING:
    from typing_extensions import Unpack


def fold_zoo(
    inputs: _calls.Inputs,
    output: PathLike,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    retries: int = 3,
    manifest: Optional[PathLike] = None,
    report: Optional[PathLike] = None,
    ray_options: Optional[Mapping[str, Any]] = None,
    on_outcome: Optional[Callable[[Outcome], None]] = None,
    progress: bool = True,
    raise_failures: bool = True,
    **options: Unpack[ModelOptions],
) -> Zoo:
    """Folds several models, or everything below folders, into the folder `output`: one Ray task a model.

    A task reserves `num_cpus` and `num_gpus`; `ray_options` are further options of it (`runtime_env`, `memory`, ...). It
    is tried again up to `retries` times if its worker or node dies, if the program dies of a signal, or fails in a way that
    may pass. `manifest` gets one JSON line a model, `report` a page. Without a cluster Ray starts one on this machine.

    Raises :class:`UsageError` if there is nothing to fold or results would collide, :class:`NodeUnfit` if a node lacks the
    package, its version, or the files, and :class:`ZooFailed` in the end if models failed (unless `raise_failures` is
    False). The same call goes on after an interruption.
    """
    places = [absolute(one) for one in _calls.several(inputs)]
    folder = os.path.join(absolute(output), "")
    plan = _plan_text(options.pop("plan", None))
    lines = _listed(places, folder, plan, report, options)
    models = [line for line in lines if line["status"] == "found"]
    told = Manifest(_manifest_path(manifest, models))
    if not ray.is_initialized():
        ray.init()
    # A node may lack the package: what runs there is sent with all that it needs.
    cloudpickle.register_pickle_by_value(_task)
    if models:
        check(places, folder, {"CPU": num_cpus, "GPU": num_gpus}, ray_options or {})
    needs = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": retries, "retry_exceptions": True}
    task = ray.remote(_task.fold_model).options(**{**(ray_options or {}), **needs})
    words, uses_gpu = _words(places, folder, num_gpus, options), num_gpus > 0 and "device" not in options
    with contextlib.closing(told), Progress(progress) as bar:
        fleet = _Fleet(told, bar, on_outcome)
        for line in lines:
            if line["status"] == "failed":
                fleet.take(line)
        fleet.run({task.remote(one["place"], words, plan, __version__, uses_gpu): one["input"] for one in models}, retries)
        text = told.text([one["input"] for one in lines])
        told.finish(text)
    if report is not None and lines:
        _write_page(os.fspath(report), text)
    zoo = fleet.zoo([one["input"] for one in lines])
    if zoo.failed and raise_failures:
        errors = "\n".join(one.error for one in zoo.failed)
        raise ZooFailed(errors, 1, errors, zoo)
    return zoo


class _Fleet:
    """The tasks of a run, and what became of them so far."""

    def __init__(self, manifest: Manifest, progress: Progress, on_outcome: Optional[Callable[[Outcome], None]]) -> None:
        self._manifest, self._progress = manifest, progress
        self._on_outcome = on_outcome
        self._outcomes: Dict[str, Outcome] = {}

    def run(self, tasks: Mapping[Any, str], retries: int) -> None:
        """Waits for all tasks; NodeUnfit if one came to a node that cannot do it."""
        futures: Dict[Future[Any], str] = {reference.future(): name for reference, name in tasks.items()}
        try:
            for future in as_completed(futures):
                for line in _lines_of(future, futures[future], retries):
                    self.take(line)
        except BaseException:
            # Nobody waits for what is still under way.
            for reference in tasks:
                ray.cancel(reference)
            raise

    def take(self, line: Line) -> None:
        """Writes down and passes on what became of a model."""
        self._manifest.add(line)
        made = outcome(line)
        self._outcomes[line["input"]] = made
        if isinstance(made, Report):
            _calls.warn(made)
        self._progress.see(made)
        if self._on_outcome is not None:
            self._on_outcome(made)

    def zoo(self, inputs: List[str]) -> Zoo:
        """All outcomes: those of `inputs` in this order, then what else failed."""
        others = [name for name in self._outcomes if name not in set(inputs)]
        return Zoo(tuple(self._outcomes[name] for name in [*inputs, *others]))


def absolute(path: PathLike) -> str:
    """A path that means the same on every node; URLs are passed on as they are."""
    text = os.fspath(path)
    return text if is_url(text) else os.path.abspath(text)


def _listed(
    inputs: List[str], output: str, plan: Optional[str], report: Optional[PathLike], options: Mapping[str, Any]
) -> List[Line]:
    """What the program finds, a line a model; its error if it would not begin."""
    words = arguments({**options, "report": report}, _Listing, "fold_zoo")
    with _task.as_file(plan) as followed:
        place = [f"--output={output}", *_calls.paths(inputs)]
        found = run(["fold", "--dry-run", "--quiet", "--format=json", *words, *followed, *place])
    lines: List[Line] = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    if found.status not in (0, 1) or (found.status == 1 and not lines):
        raise error_of(found)
    return lines


class _Listing(ModelOptions, total=False):
    report: PathLike


def _words(inputs: List[str], output: str, num_gpus: float, options: Mapping[str, Any]) -> List[str]:
    """What all tasks have in common. A task without a graphics card does not take one that another has reserved."""
    shared = {name: value for name, value in options.items() if name != "shard"}
    if not num_gpus:
        shared.setdefault("device", "cpu")
    return [*arguments(shared, ModelOptions, "fold_zoo"), f"--output={output}", *_calls.paths(inputs)]


def _plan_text(plan: Any) -> Optional[str]:
    """A plan as text that can be sent to nodes."""
    if plan is None or isinstance(plan, Plan):
        return None if plan is None else plan.to_json()
    with open(plan, encoding="utf-8") as file:
        return file.read()


def _manifest_path(manifest: Optional[PathLike], models: List[Line]) -> Optional[str]:
    if manifest is None:
        return None
    path = os.path.abspath(os.fspath(manifest))
    taken = next((one["output"] for one in models if one["output"] in (path, path + ".partial")), None)
    if taken is not None:
        raise UsageError(f"{path}: the manifest would be written to where the result {taken} goes; pass another manifest=", 2, "")
    return path


def _lines_of(future: Future[Any], name: str, retries: int) -> List[Line]:
    """What became of one model, the first line, and of what lies beside it."""
    try:
        answer = future.result()
    except RayTaskError as error:
        return [_failed(name, f"{error.cause}; tried {retries + 1} times")]
    except RayError as error:
        text = " ".join(str(error).split())
        return [_failed(name, f"{name}: the task was lost {retries + 1} times, the last time so: {type(error).__name__}: {text}")]
    if answer["unfit"] is not None:
        raise NodeUnfit({answer["node"]: answer["unfit"]})
    return [{"input": name, **line, "node": answer["node"]} for line in answer["lines"]]


def _failed(name: str, error: str) -> Line:
    return {"status": "failed", "input": name, "error": error, "transient": True}


def _write_page(page: str, manifest: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = os.path.join(folder, "manifest.jsonl")
        replace(path, manifest)
        written = run(["report", path, f"--output={page}"])
    if written.status != 0:
        raise error_of(written)
