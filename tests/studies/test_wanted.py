"""Wanted records: which there are, which jobs make those that are missing, and how one takes a stale one's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_records import record_of

from fercore import papers, records
from fercore.data import catalogue
from fercore.errors import ParameterError
from fercore.ledger.found import kind_of
from fercore.papers import arcface, lan
from fercore.recipe import PRESETS, Recipe
from fercore.records import Record
from fercore.studies import wanted
from fercore.training import experiments

WANTED = list(wanted.wanted())


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the committed records; every data set is at hand."""
    for module in (records, wanted):
        monkeypatch.setattr(module, "reference_records", lambda: tmp_path / "committed")
    monkeypatch.setattr(catalogue, "at_hand", lambda name: True)
    return tmp_path / "committed"


def only(monkeypatch: pytest.MonkeyPatch, *recipes: Recipe) -> None:
    monkeypatch.setattr(wanted, "wanted", lambda preset="", only="": iter(recipes))


def made(recipe: Recipe, root: Path, **more: Any) -> Record:
    """A record of a recipe, as if it had been trained, with weights beside."""
    update = {"recipe": recipe.model_dump(), "key": recipe.key()[:10], "command": experiments.command(recipe)} | more
    files = {"final.safetensors": lambda path: path.write_bytes(b"weights")}
    return records.write(record_of().model_copy(update=update), {"labels": np.arange(2)}, root, files)


# --- what is wanted -----------------------------------------------------------------------------------------


def test_each_is_wanted_once_and_can_be_trained() -> None:
    keys = [recipe.key() for recipe in WANTED]
    assert len(set(keys)) == len(keys) > 200
    assert {recipe.paper for recipe in WANTED} == set(papers.names())
    assert {recipe.preset for recipe in WANTED} == set(PRESETS) - {"smoke"}


def test_every_committed_record_is_wanted() -> None:
    keys = {recipe.key() for recipe in WANTED}
    here = {
        run.name: kind_of(run).but(seed=run.recipe["seed"], fold=run.recipe["fold"]).key() for run in records.find()
    }
    assert not [name for name, key in here.items() if key not in keys], "say in a paper's toml file who wants it"
    assert len(set(here.values())) == len(here), "one record a recipe"


def test_a_choice_of_paper_and_preset() -> None:
    some = list(wanted.wanted("paper", "lan"))
    assert some and {(recipe.paper, recipe.preset) for recipe in some} == {("lan", "paper")}
    with pytest.raises(ParameterError, match="did you mean 'lan'"):
        list(wanted.wanted(only="lam"))
    with pytest.raises(ParameterError, match="no preset 'quik'"):
        list(wanted.wanted("quik"))


# --- jobs ---------------------------------------------------------------------------------------------------


def test_what_several_start_from_is_one_job_before_them(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"start": "identity", "backbone_epochs": 2}
    runs = [lan.recipe("quick", "kdef-twin", method=method, **fields) for method in ("resnet18", "lan")]
    only(monkeypatch, *runs)
    jobs = wanted.jobs()
    names = [job.id for job in jobs]
    assert [job.recipe for job in jobs if not job.stage][-2:] == runs
    first, second = (job for job in jobs if job.recipe in runs and not job.stage)
    assert first.before == second.before and len(jobs) == 4
    stage = next(job for job in jobs if job.stage)
    assert stage.id in first.before and next(job for job in jobs if job.recipe.paper == "arcface").id in stage.before
    assert all(names.index(one) < names.index(job.id) for job in jobs for one in job.before)
    assert {job.state for job in jobs} == {"missing"}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_current_record_comes_before_a_stale_one_of_the_same_recipe(
    names: tuple[str, str], committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lan.recipe("quick", "kdef-twin", method="lan")
    monkeypatch.setattr(wanted, "stale", lambda record: record.code == "old")
    for name, code in zip(names, ("old", "now"), strict=True):
        made(run, committed, key=10 * name, code=code)
    assert wanted.record_of(run, committed).code == "now" and wanted.state_of(run) != "missing"


def test_what_is_current_is_no_job_and_asks_for_none(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lan.recipe("quick", "kdef-twin", method="lan")
    only(monkeypatch, run)
    made(run, committed)
    for stale in (False, True):
        monkeypatch.setattr(wanted, "stale", lambda record, stale=stale: stale)
        found = {(job.stage, job.state) for job in wanted.jobs()}
        assert found == ({(True, "missing"), (False, "stale")} if stale else set())


def test_a_record_is_no_younger_than_what_it_starts_from(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lan.recipe("quick", "kdef-twin", start="identity")
    only(monkeypatch, run)
    made(run, committed)
    monkeypatch.setattr(wanted, "stale", lambda record: record.code == "old")
    assert wanted.state_of(run) == "stale", "nobody knows what it started from"
    before = arcface.pretraining_of(run)
    made(before, committed, code="old")
    assert wanted.state_of(run) == "stale" and {job.recipe.paper for job in wanted.jobs()} == {"lan", "arcface"}
    wanted.commit_record(made(before, committed.parent / "runs", key="new0000000", code="new"))
    assert wanted.state_of(run) == "current" and not wanted.jobs()
    asked = wanted.make(wanted.name_of(run), committed.parent / "runs")
    assert asked.recipe == run.model_dump(), "what is done meanwhile is not done again"


def test_a_record_whose_start_was_trained_again_is_stale(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lan.recipe("quick", "kdef-twin", start="identity")
    only(monkeypatch, run)
    monkeypatch.setattr(wanted, "stale", lambda record: False)
    made(arcface.pretraining_of(run), committed, weights={"final": records.WeightsNote(hash="new", norm=1.0)})
    for begun, state in (("new", "current"), ("old", "stale")):
        made(run, committed, starts={"backbone": begun})
        assert wanted.state_of(run) == state
        wanted._by_recipe.cache_clear()


def test_what_is_not_at_hand_is_no_job(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, lan.recipe("quick", "rafdb"), lan.recipe("quick", "rafdb-twin"))
    monkeypatch.setattr(catalogue, "at_hand", lambda name: name.endswith("-twin"))
    assert {job.recipe.dataset for job in wanted.jobs()} == {"rafdb-twin"}
    assert list(wanted.lines())[-1].endswith("not at hand (FERCORE_DATA): runs on rafdb")


def test_a_plan_says_what_fits(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [lan.recipe("quick", "kdef-twin", method="resnet18", seed=seed, backbone_epochs=0) for seed in range(3)]
    only(monkeypatch, *runs)
    made(runs[0], committed, seconds=120.0, peak_memory=700 * 2**20, code="old")
    made(runs[1], committed, seconds=240.0, code="old", machine={"gpu": "A card"})
    monkeypatch.setattr(wanted, "stale", lambda record: True)
    _head, first, limit, second, third, total = wanted.lines(budget=150.0)
    assert first.split()[:3] == ["2.0", "700", "stale"] and "--seed 0" in first
    assert "2.5 minutes end here" in limit and "(on A card)" in second and "(on" not in first
    assert "missing" in third and total.split()[:3] == ["8.0", "3", "trainings,"]


def test_one_run_that_waited_for_others_says_little_of_the_next(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [lan.recipe("quick", "kdef-twin", method="resnet18", seed=seed, backbone_epochs=0) for seed in range(4)]
    only(monkeypatch, *runs)
    for run, minutes in zip(runs, (80, 4, 5), strict=False):
        made(run, committed, seconds=60.0 * minutes)
    assert {job.recipe.seed: job.minutes for job in wanted.jobs()}[3] == 5.0


# --- making them --------------------------------------------------------------------------------------------


def test_a_new_record_takes_the_place_of_the_stale_one(committed: Path) -> None:
    run, other = (lan.recipe("quick", "kdef-twin", seed=seed) for seed in range(2))
    old, kept = made(run, committed, key="old0000000"), made(other, committed)
    new = made(run, committed.parent / "runs", key="new0000000", code="new")
    target = wanted.commit_record(new)
    assert {folder.name for folder in committed.iterdir()} == {new.name, kept.name} and old.name != new.name
    assert {file.name for file in target.iterdir()} == {"record.json", "arrays.npz"}, "weights stay where runs are"
    assert records.read(target).code == "new" and (new.folder / "final.safetensors").is_file()
    wanted.commit_record(new)
    assert {folder.name for folder in committed.iterdir()} == {new.name, kept.name}, "twice is once"


@pytest.mark.apart
def test_a_killed_commit_leaves_the_stale_one(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lan.recipe("quick", "kdef-twin")
    old = made(run, committed, key="old0000000")
    new = made(run, committed.parent / "runs", key="new0000000")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wanted.shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            wanted.commit_record(new)
    assert [record.name for record in records.find(committed)] == [old.name]
    wanted.commit_record(new)
    assert [folder.name for folder in committed.iterdir()] == [new.name]


def test_a_job_is_made_by_its_name(committed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = lan.recipe("quick", "kdef-twin", method="lan")
    only(monkeypatch, run)
    stage, own = wanted.jobs()
    asked = []
    monkeypatch.setattr(experiments, "run_stage", lambda recipe, root: asked.append(recipe) or made(recipe, root))
    monkeypatch.setattr(experiments, "run", lambda recipe, root: asked.append(recipe) or made(recipe, root))
    wanted.make(stage.id, tmp_path / "runs")
    assert not records.find(committed), "a stage is no record of the book"
    wanted.make(own.id, tmp_path / "runs")
    assert asked == [stage.recipe, own.recipe] and [one.name for one in records.find(committed)]
    with pytest.raises(ParameterError, match="No job is called 'nothing'"):
        wanted.make("nothing")
