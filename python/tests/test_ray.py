"""A zoo folded by Ray: what one machine folds, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

import bnfold_gpu
from bnfold_gpu import Failed, ManifestError, NodeUnfit, Report, Skipped, UsageError, ZooFailed

from .conftest import DIGITS, ROOT
from .fleet import assert_folded, files, killing, lines, make_zoo


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, for two tasks at a time."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def mixed(folder: Path) -> Path:
    """Two models of one name, a broken one, and files beside them."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        shutil.copy(DIGITS, folder / name / "model.safetensors")
    (folder / "a" / "notes.txt").write_text("notes")
    (folder / "LICENSE").write_text("licence")
    (folder / "b" / "broken.safetensors").write_text("no checkpoint")
    return folder


def program(path: Path, before: str) -> Dict[str, Any]:
    """Options for tasks that call the program by a script which does something `before`."""
    real = bnfold_gpu.binary()
    path.write_text(f'#!/bin/sh\nif [ "$1" = fold ]; then\n{before}\nfi\nexec {real} "$@"\n')
    path.chmod(0o755)
    return {"runtime_env": {"env_vars": {"BNFOLD_GPU": str(path)}}}


def test_a_fleet_folds_what_one_machine_folds(cluster: None, tmp_path: Path) -> None:
    zoo, out = mixed(tmp_path / "zoo"), tmp_path / "out"
    manifest, page = tmp_path / "m.jsonl", tmp_path / "m.html"
    seen: List[str] = []

    def fold(**more: Any) -> bnfold_gpu.Zoo:
        given: Dict[str, Any] = {"eps": 1e-5, "copy_sidecars": True, "progress": False, "manifest": manifest, "report": page}
        return bnfold_gpu.ray.fold_zoo(zoo, out, **given, **more)

    with pytest.raises(ZooFailed, match=r"broken.safetensors: .*not a valid safetensors") as failed:
        fold(on_outcome=lambda one: seen.append(one.input))
    results = failed.value.zoo
    assert [type(one) for one in results.outcomes] == [Report, Failed, Report] and len(seen) == 3
    bnfold_gpu.fold_zoo(zoo, tmp_path / "one", eps=1e-5, copy_sidecars=True, progress=False, raise_failures=False)
    assert files(out) == files(tmp_path / "one")
    assert "<h1>2 of 3 models folded, 1 failed</h1>" in page.read_text()
    first = lines(manifest)
    assert [one["status"] for one in first] == ["folded", "failed", "folded"]
    # What was done before is passed over, and the manifest still tells how it was made.
    (zoo / "b" / "broken.safetensors").unlink()
    again = fold()
    assert [type(one) for one in again.outcomes] == [Skipped, Skipped]
    assert lines(manifest) == [first[0], first[2]]
    assert "<h1>2 models folded</h1>" in page.read_text()


def test_workers_and_programs_that_are_killed_lose_nothing(cluster: None, tmp_path: Path) -> None:
    zoo, out, manifest = make_zoo(tmp_path / "zoo", 12, channels=256), tmp_path / "out", tmp_path / "m.jsonl"
    with killing(most=6, pause=0.25) as killed:
        found = bnfold_gpu.ray.fold_zoo(zoo, out, eps=1e-5, manifest=manifest, retries=8, progress=False)
    assert len(killed) >= 3, f"only {killed} were killed"
    assert len(found.outcomes) == 12
    assert_folded(zoo, out, manifest, tmp_path / "one")


PASSING = json.dumps({"status": "failed", "input": "a", "error": "cannot read: stale file handle", "transient": True})


@pytest.mark.parametrize("way", ["kill -SEGV $$", "exit 130", f"{{ echo '{PASSING}'; exit 1; }}"])
def test_what_may_pass_is_tried_again_and_a_lasting_failure_is_not(cluster: None, tmp_path: Path, way: str) -> None:
    zoo, log = mixed(tmp_path / "zoo"), tmp_path / "log"
    crash = f'echo "$4" >> {log}\ncase "$4" in *a/model*) [ $(grep -c a/model {log}) -gt 1 ] || {way} ;; esac'
    options = program(tmp_path / "program", crash)
    found = bnfold_gpu.ray.fold_zoo(
        zoo, tmp_path / "out", eps=1e-5, ray_options=options, progress=False, raise_failures=False
    )
    assert [type(one) for one in found.outcomes] == [Report, Failed, Report]
    assert not found.failed[0].transient
    calls = sorted(log.read_text().splitlines())
    assert calls == ["--only=a/model.safetensors"] * 2 + ["--only=b/broken.safetensors", "--only=b/model.safetensors"]


def test_what_always_crashes_is_written_down(cluster: None, tmp_path: Path) -> None:
    zoo, manifest = mixed(tmp_path / "zoo"), tmp_path / "m.jsonl"
    options = program(tmp_path / "program", 'case "$4" in *a/model*) kill -SEGV $$ ;; esac')
    with pytest.raises(ZooFailed, match="died of signal 11.*tried 2 times"):
        bnfold_gpu.ray.fold_zoo(zoo, tmp_path / "out", ray_options=options, retries=1, manifest=manifest, progress=False)
    told = lines(manifest)
    assert [(one["status"], one.get("transient")) for one in told] == [("failed", True), ("failed", False), ("folded", None)]
    # The same call goes on.
    again = bnfold_gpu.ray.fold_zoo(zoo, tmp_path / "out", manifest=manifest, progress=False, raise_failures=False)
    assert [type(one) for one in again.outcomes] == [Report, Failed, Skipped]
    assert [one["status"] for one in lines(manifest)] == ["folded", "failed", "folded"]


def test_a_plan_goes_to_the_nodes(cluster: None, digits: Path, tmp_path: Path) -> None:
    plan = bnfold_gpu.plan(digits).keep("bn1", "to be fine-tuned")
    plan.save(tmp_path / "plan.json")
    for given, out in ((plan, "object"), (tmp_path / "plan.json", "file")):
        found = bnfold_gpu.ray.fold_zoo([digits], tmp_path / out, plan=given, eps=1e-5, progress=False)
        assert [one.norm for one in found.folded[0].kept] == ["bn1"]


@pytest.mark.parametrize(
    "says, words",
    [("bnfold-gpu 99.0.0", "'bnfold-gpu 99.0.0', and this package needs"), (None, "was not found")],
)
def test_a_node_without_the_program_is_named(cluster: None, tmp_path: Path, says: Any, words: str) -> None:
    path = tmp_path / "program"
    if says is not None:
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
    options = {"runtime_env": {"env_vars": {"BNFOLD_GPU": str(path)}}}
    with pytest.raises(NodeUnfit, match=rf"^node \S+ \(.*\) cannot run the program: .*{words}"):
        bnfold_gpu.ray.fold_zoo(mixed(tmp_path / "zoo"), tmp_path / "out", ray_options=options, progress=False)
    assert files(tmp_path / "out") == {}


def asked(code: str) -> str:
    """What a Python that has nothing of this package prints."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'python' / 'bnfold_gpu' / 'ray')!r}); import _task; {code}"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_node_without_the_package_or_the_files_says_so(tmp_path: Path) -> None:
    from bnfold_gpu.ray._task import unfit_for

    assert "has no package bnfold_gpu" in asked("print(_task.unfit_for('1.0.0'))")
    assert "'lines': []" in asked("print(_task.fold_model('a', [], None, '1.0.0', False))")
    assert unfit_for(bnfold_gpu.__version__, [str(tmp_path)]) is None
    assert "the driver 99.0.0: pip install bnfold-gpu==99.0.0" in str(unfit_for("99.0.0"))
    assert "does not see /nowhere/zoo: use a file system" in str(unfit_for(bnfold_gpu.__version__, ["/nowhere/zoo"]))


def test_a_node_that_joins_later_is_asked_by_its_first_task() -> None:
    from concurrent.futures import Future

    from bnfold_gpu.ray._fleet import _lines_of

    future: Future[Any] = Future()
    future.set_result({"node": "late", "unfit": "has no package", "lines": []})
    with pytest.raises(NodeUnfit, match="^node late has no package$"):
        _lines_of(future, "a", 3)


def test_the_program_does_not_outlive_its_worker(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\nfrom bnfold_gpu.ray._task import dies_with_this_process as dies\n"
        "child = subprocess.Popen(['sleep', '300'], preexec_fn=dies())\nprint(child.pid, flush=True)\ntime.sleep(300)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    worker.kill()
    worker.wait()
    worker.stdout.close()

    def runs() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    deadline = time.monotonic() + 30
    while runs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs()


def test_the_cluster_of_the_documents_is_one() -> None:
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    text = (ROOT / "examples" / "ray-cluster.yaml").read_text()
    config = yaml.safe_load(text)
    validate_config(prepare_config(config))
    assert config["setup_commands"] == [f"pip install bnfold-gpu=={bnfold_gpu.__version__}"]
    # What is printed in the document is what the file says.
    commands = (ROOT / "docs" / "zoo.md").read_text().split("```sh\nray up", 1)[1].split("```")[0].strip().splitlines()
    assert all(f"#   {command}" in text for command in commands[1:]) and len(commands) == 4


def test_urls_are_passed_on_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnfold_gpu.ray._fleet import _words, absolute
    from bnfold_gpu.ray._nodes import _written_to

    monkeypatch.chdir(tmp_path)
    words = _words([absolute("s3://bucket/zoo"), absolute(Path("zoo"))], absolute("gs://bucket/../out"), 0, {"shard": "0/2"})
    assert words == ["--device=cpu", "--output=gs://bucket/../out", "--input=s3://bucket/zoo", f"--input={tmp_path / 'zoo'}"]
    with _written_to("s3://bucket/out/") as written:
        assert written == [] and os.listdir() == []


def test_cards_of_a_task_are_the_programs_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from bnfold_gpu.ray._task import devices

    for given, expected in (([2], "gpu:2"), ([0, 3], "gpu:0,gpu:3"), (["MIG-1"], "gpu"), ([], "gpu")):
        monkeypatch.setattr(ray, "get_gpu_ids", lambda given=given: given)
        assert devices() == [f"--device={expected}"]


def test_what_cannot_begin_is_refused_before_anything_is_folded(cluster: None, digits: Path, tmp_path: Path) -> None:
    fold, out = bnfold_gpu.ray.fold_zoo, tmp_path / "out"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no .safetensors file in"):
        fold(tmp_path / "empty", out)
    (tmp_path / "x").mkdir()
    other = shutil.copy(digits, tmp_path / "x" / digits.name)
    with pytest.raises(UsageError, match="would both be written to"):
        fold([digits, other], out)
    (tmp_path / "text").write_text("mine")
    with pytest.raises(ManifestError, match="text:1: is there already, .*pass another manifest="):
        fold(digits, out, manifest=tmp_path / "text")
    with pytest.raises(UsageError, match="is no report of this program"):
        fold(digits, out, report=tmp_path / "text")
    with pytest.raises(UsageError, match="the manifest would be written to where the result"):
        fold(digits, out, manifest=out / digits.name)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stile'"):
        fold(digits, out, stile="strip")  # type: ignore[call-arg]
    assert (tmp_path / "text").read_text() == "mine" and not out.exists()


def test_without_ray_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['ray'] = None; import bnfold_gpu; bnfold_gpu.ray"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingLibrary: bnfold_gpu.ray needs ray: pip install ray" in found.stderr


def line(name: str, **more: object) -> Dict[str, Any]:
    return {"status": "failed", "input": name, "error": "why", **more}


def test_a_driver_that_was_killed_leaves_its_lines(tmp_path: Path) -> None:
    from bnfold_gpu.ray._manifest import Manifest

    path = tmp_path / "m.jsonl"
    made = {
        "status": "folded", "input": "a", "output": "o/a", "style": "strip", "layers": {"folded": 1, "kept": 0},
        "bytes_out": 7, "folded": [{"eps": 1e-5, "eps_code": "eps"}],
    }  # fmt: skip
    Manifest(str(path)).add(made)
    partial = tmp_path / "m.jsonl.partial"
    # Killed in the middle of a line.
    partial.write_text(partial.read_text() + json.dumps(line("b"))[:20])
    assert not path.exists()
    figures = {"style": "strip", "folded": 1, "kept": 0, "eps": [{"eps": 1e-5, "source": "eps", "norms": 1}]}
    found = {"done_before": True, "bytes_out": 7, "figures": figures}
    skipped = {"status": "skipped", "input": "a", "output": "o/a", "reason": "there", "earlier": found}
    for changed, expected in ((found, made), ({**found, "bytes_out": 8}, None), ({**found, "figures": None}, None)):
        shutil.copy(partial, tmp_path / "other.partial")
        manifest = Manifest(str(tmp_path / "other"))
        outcome = {**skipped, "earlier": changed}
        manifest.add(outcome)
        assert manifest.text(["a"]) == json.dumps(expected or outcome) + "\n"
        manifest.close()
    (tmp_path / "other.partial").unlink()
    manifest = Manifest(str(path))
    manifest.add(line("b"))
    manifest.add(skipped)
    manifest.add(line("beside"))
    manifest.finish(manifest.text(["a", "b"]))
    assert lines(path) == [made, line("b"), line("beside")] and os.listdir(tmp_path) == ["m.jsonl"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_no_manifest_is_left_alone(tmp_path: Path) -> None:
    from bnfold_gpu.ray._manifest import Manifest

    for name, text in (("m", '{"a": 1}\n'), ("m", "text"), ("m.partial", "text")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ManifestError, match="is there already"):
            Manifest(str(tmp_path / "m"))
        assert (tmp_path / name).read_text() == text
        (tmp_path / name).unlink()
    with pytest.raises(ManifestError, match="cannot be written"):
        Manifest(str(tmp_path / "none" / "m"))
