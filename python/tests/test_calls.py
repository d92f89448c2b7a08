"""fold, plan, verify and fold_zoo on a trained network."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import List

import pytest

import bnfold_gpu
from bnfold_gpu import BnfoldWarning, ModelFailed, Plan, PlanError, UnexpectedAnswer, UsageError, ZooFailed
from bnfold_gpu._json import decode
from bnfold_gpu.reports import Report, Verification


def test_a_model_is_folded_and_verified(digits: Path, tmp_path: Path) -> None:
    report = bnfold_gpu.fold(digits, tmp_path / "out.safetensors", eps=1e-5)
    assert isinstance(report, Report)
    assert (report.layers.folded, report.layers.kept) == (12, 0)
    assert report.verification is not None and report.verification.worst_ulp is not None
    assert report.verification.worst_ulp <= 1.5
    assert report.folded[0].norm == "bn1" and report.folded[0].weight == "conv1.weight"
    checked = bnfold_gpu.verify(digits, tmp_path / "out.safetensors", eps=1e-5)
    assert checked.ok and checked.folded == 12


def test_a_wrong_file_is_found_and_not_raised(digits: Path, tmp_path: Path) -> None:
    bnfold_gpu.fold(digits, tmp_path / "out.safetensors", eps=1e-3)
    checked = bnfold_gpu.verify(digits, tmp_path / "out.safetensors", eps=1e-5)
    assert not checked.ok and checked.failed > 0 and checked.problems


def test_warnings_of_the_program_are_warnings(digits: Path) -> None:
    with pytest.warns(BnfoldWarning, match="eps 1e-5 is assumed for 12 norms") as seen:
        bnfold_gpu.fold(digits)
    assert [one.message.code for one in seen if isinstance(one.message, BnfoldWarning)] == ["assumed-eps"]
    assert digits.with_name("digits.folded.safetensors").is_file()


def test_errors_have_types_and_the_programs_words(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="there is no such folder") as failed:
        bnfold_gpu.fold(digits, tmp_path / "missing" / "out.safetensors", eps=1e-5)
    assert failed.value.status == 1
    with pytest.raises(UsageError, match="--arch"):
        bnfold_gpu.fold(digits, tmp_path / "out.safetensors", arch="timm/no_such_network")
    with pytest.raises(ModelFailed):
        bnfold_gpu.plan(tmp_path / "absent.safetensors")


def test_a_plan_is_edited_as_an_object_and_followed(digits: Path, tmp_path: Path) -> None:
    plan = bnfold_gpu.plan(digits)
    assert len(plan.folds) == 12 and plan["bn1"].weight == "conv1.weight"
    edited = plan.keep("bn1", "to be fine-tuned").with_eps("features.1", 1e-3)
    with pytest.warns(BnfoldWarning, match="1 of 12 norms kept"):
        report = bnfold_gpu.fold(digits, tmp_path / "out.safetensors", plan=edited, eps=1e-5)
    assert isinstance(report, Report)
    assert [one.norm for one in report.kept] == ["bn1"] and report.kept[0].reason == "to be fine-tuned"
    assert {one.norm: one.eps for one in report.folded}["features.1"] == 1e-3
    assert bnfold_gpu.verify(digits, tmp_path / "out.safetensors", plan=edited, eps=1e-5).ok


def test_a_plan_is_the_same_after_a_file(digits: Path, tmp_path: Path) -> None:
    plan = bnfold_gpu.plan(digits)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert json.loads((tmp_path / "plan.json").read_text()) == plan.to_dict()


def test_a_plan_of_another_model_is_refused(digits: Path, tmp_path: Path) -> None:
    plan = Plan(bnfold_gpu.plan(digits).layers).fold("bn1", weight="elsewhere.weight", op="conv")
    with pytest.raises(ModelFailed, match=r"norm `bn1`: .*elsewhere.weight"):
        bnfold_gpu.fold(digits, tmp_path / "out.safetensors", plan=plan)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("[1]", "version"),
        ("{", "not a plan"),
        ('{"version": 2, "layers": []}', "version"),
        ('{"version": 1, "layers": [{"norm": "a", "action": "drop"}]}', "not a layer"),
        ('{"version": 1, "layers": [{"norm": "a", "action": "keep", "why": 1}]}', "unknown keys why"),
        ('{"version": 1, "layers": [{"norm": "a", "action": "fold", "weight": 5}]}', "`weight`: expected a str"),
        ('{"version": 1, "layers": [{"norm": "a", "action": "keep"}, {"norm": "a", "action": "keep"}]}', "several layers"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError, match=words):
        Plan.load(tmp_path / "plan.json")


def test_an_edit_of_a_norm_that_is_not_there_is_refused(digits: Path) -> None:
    with pytest.raises(PlanError, match="no norm 'bn9'"):
        bnfold_gpu.plan(digits).keep("bn9")


def zoo(folder: Path, digits: Path) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        shutil.copy(digits, folder / name / "model.safetensors")
    (folder / "broken.safetensors").write_text("not a checkpoint")
    return folder


def test_one_bad_model_stops_no_other(digits: Path, tmp_path: Path) -> None:
    models = zoo(tmp_path / "zoo", digits)
    seen: List[str] = []
    with pytest.raises(ZooFailed, match="broken.safetensors") as failed:
        bnfold_gpu.fold_zoo(models, tmp_path / "out", eps=1e-5, on_outcome=lambda one: seen.append(one.input), progress=False)
    results = failed.value.zoo
    assert (len(results.folded), len(results.failed), len(seen)) == (2, 1, 3)
    again = bnfold_gpu.fold_zoo(models, tmp_path / "out", eps=1e-5, progress=False, raise_failures=False)
    assert (len(again.folded), len(again.skipped), len(again.failed)) == (0, 2, 1)


def test_several_models_are_no_single_one(digits: Path, tmp_path: Path) -> None:
    models = zoo(tmp_path / "zoo", digits)
    (models / "broken.safetensors").unlink()
    with pytest.raises(UsageError, match=r"plan_zoo\(\)"):
        bnfold_gpu.plan(models)
    assert len(bnfold_gpu.plan_zoo(models)) == 2


def test_explanations_and_architectures_are_passed_on(digits: Path) -> None:
    assert "[twin-names]" in bnfold_gpu.explain(digits, "bn1")
    assert [one.eps for one in bnfold_gpu.archs("timm/tf_efficientnet_b0")] == [1e-3]


def test_an_error_in_a_callback_stops_the_program(digits: Path, tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        bnfold_gpu.fold_zoo([digits], tmp_path / "out", eps=1e-5, on_outcome=fail, progress=False)


def test_answers_of_another_form_are_refused() -> None:
    right = {field.name: 0 for field in dataclasses.fields(Verification)}
    right.update(ok=True, problems=[], worst_ulp=None)
    assert decode(Verification, {**right, "more": 1}).worst_ulp is None
    for key, value in [("ok", 1), ("folded", "3"), ("problems", "text"), ("worst_ulp", "x")]:
        with pytest.raises(UnexpectedAnswer, match=key):
            decode(Verification, {**right, key: value})
    with pytest.raises(UnexpectedAnswer, match="no `same`"):
        decode(Verification, {key: value for key, value in right.items() if key != "same"})


def test_names_that_look_like_options_are_paths(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(digits, "-v.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(bnfold_gpu.plan("-v.safetensors").folds) == 12
