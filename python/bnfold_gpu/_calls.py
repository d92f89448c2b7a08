"""The commands of the program as functions.

Stage:  the package's core: fold, plan and verify checkpoints.
In:     paths (or URLs, where the program is built with object stores) and options as keywords, see `options`.
Out:    reports and plans as objects. Warnings of the program are issued as :class:`BnfoldWarning`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ._json import decode
from ._process import Finished, error_of, not_understood, run, text_of
from ._progress import Progress
from .errors import BnfoldWarning, ModelFailed, PlanError, UsageError, ZooFailed
from .options import FoldOptions, PathLike, PlanOptions, VerifyOptions, arguments
from .plans import Plan, plans_of
from .reports import Architecture, Outcome, Report, Skipped, Verification, Zoo, outcome

if TYPE_CHECKING:
    from typing_extensions import Unpack

Inputs = Union[PathLike, Sequence[PathLike]]


def fold(input: PathLike, output: Optional[PathLike] = None, **options: Unpack[FoldOptions]) -> Union[Report, Skipped]:
    """Folds one model: a `.safetensors` file, an index of a sharded one, or a folder that holds one model.

    `output` is a file, or a folder for a sharded model; without it `NAME.folded.safetensors` beside a file. Options are
    those of :class:`~bnfold_gpu.options.FoldOptions`. Returns a :class:`Skipped` if the result is there already (a folder,
    folded again). Raises :class:`UsageError`, :class:`ModelFailed` and other errors of `errors`; then nothing was written.
    """
    outcomes, finished = _fold([input], output, options, None)
    if finished.status != 0:
        raise error_of(finished)
    if len(outcomes) != 1:
        raise UsageError(f"{os.fspath(input)} holds {len(outcomes)} models: fold_zoo() folds several", 2, finished.stderr)
    made = outcomes[0]
    assert isinstance(made, (Report, Skipped))
    return made


def fold_zoo(
    inputs: Inputs,
    output: PathLike,
    *,
    on_outcome: Optional[Callable[[Outcome], None]] = None,
    progress: bool = True,
    raise_failures: bool = True,
    **options: Unpack[FoldOptions],
) -> Zoo:
    """Folds several models, or everything below folders, into the folder `output`.

    `on_outcome` gets each model's outcome as soon as it is known; `progress` shows a bar where tqdm is installed. A model
    that fails does not stop the others: in the end :class:`ZooFailed` holds all outcomes, or they are returned if
    `raise_failures` is False. The same call goes on after an interruption.
    """
    with Progress(progress) as bar:

        def see(one: Outcome) -> None:
            bar.see(one)
            if on_outcome is not None:
                on_outcome(one)

        # The separator says that a folder is meant, also where there is none yet.
        outcomes, finished = _fold(several(inputs), os.path.join(output, ""), options, see)
    zoo = Zoo(tuple(outcomes))
    if finished.status == 0 or (finished.status == 1 and zoo.failed and not raise_failures):
        return zoo
    error = error_of(finished)
    if isinstance(error, ModelFailed):
        raise ZooFailed(str(error), finished.status, finished.stderr, zoo)
    raise error


def plan(input: PathLike, **options: Unpack[PlanOptions]) -> Plan:
    """What would be folded in one model, and why; writes nothing. With `plan=`, that plan, checked and completed."""
    plans = plan_zoo(input, **options)
    if len(plans) != 1:
        raise UsageError(f"{os.fspath(input)} holds {len(plans)} models: plan_zoo() plans several", 2, "")
    return plans[0]


def plan_zoo(inputs: Inputs, **options: Unpack[PlanOptions]) -> List[Plan]:
    """The plans of several models, or of everything below folders."""
    with plan_as_file(options) as given:
        words = arguments(given, PlanOptions, "plan")
        text = text_of(["plan", "--format", "json", "--quiet", *words, *paths(several(inputs))])
    try:
        return plans_of(text)
    except PlanError as error:
        raise not_understood("plan", text, error) from error


def explain(input: PathLike, norm: str, **options: Unpack[PlanOptions]) -> str:
    """How a norm came to be folded or kept, as text: every proposal, objection and measurement."""
    with plan_as_file(options) as given:
        return text_of(["plan", f"--explain={norm}", *arguments(given, PlanOptions, "explain"), *paths([input])])


def verify(original: PathLike, folded: PathLike, **options: Unpack[VerifyOptions]) -> Verification:
    """Checks a folded file, made by any tool, against its original.

    Returns what was found, `ok` or not; raises only if the check could not be made.
    """
    with plan_as_file(options) as given:
        words = arguments(given, VerifyOptions, "verify")
        files = [f"--original={os.fspath(original)}", f"--folded={os.fspath(folded)}"]
        finished = run(["verify", "--format", "json", *files, *words])
    if not finished.stdout.strip():
        raise error_of(finished)
    found: Verification = decode(Verification, _object("verify", finished.stdout))
    return found


def archs(glob: Optional[str] = None) -> List[Architecture]:
    """The architectures that `arch=` takes, of these those that match `glob`."""
    text = text_of(["archs", "--format", "json", *(["--", glob] if glob else [])])
    return [decode(Architecture, entry) for entry in json.loads(text)]


def _fold(
    inputs: Sequence[PathLike],
    output: Optional[PathLike],
    options: Mapping[str, Any],
    see: Optional[Callable[[Outcome], None]],
) -> Tuple[List[Outcome], Finished]:
    outcomes: List[Outcome] = []

    def on_line(line: str) -> None:
        if not line.startswith("{"):
            return
        one = outcome(_object("fold", line))
        outcomes.append(one)
        if see is not None:
            see(one)

    if output is not None and os.fspath(output) == "-":
        raise UsageError("the result cannot go to standard output here: name a file", 2, "")
    with plan_as_file(options) as given:
        words = arguments(given, FoldOptions, "fold")
        place = [f"--output={os.fspath(output)}"] if output is not None else []
        finished = run(["fold", "--format", "json", *words, *place, *paths(inputs)], on_line)
    for one in outcomes:
        if isinstance(one, Report):
            warn(one)
    return outcomes, finished


def warn(report: Report) -> None:
    """Issues what the program warned of."""
    for text, code in zip(report.warnings, report.warning_codes):
        warnings.warn(BnfoldWarning(f"{report.input}: {text}", code), stacklevel=4)


def _object(command: str, text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise not_understood(command, text, error) from None
    if not isinstance(data, dict):
        raise not_understood(command, text, "an object is expected")
    return data


def several(inputs: Inputs) -> Sequence[PathLike]:
    """One path, or several, as several."""
    return [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)


def paths(inputs: Sequence[PathLike]) -> List[str]:
    """As values of an option: a name that begins with a dash is no option."""
    return [f"--input={os.fspath(one)}" for one in inputs]


@contextlib.contextmanager
def plan_as_file(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options, with a plan that is an object written to a file for the time of the call."""
    followed = options.get("plan")
    if not isinstance(followed, Plan):
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = os.path.join(folder, "plan.json")
        followed.save(path)
        yield {**options, "plan": path}
