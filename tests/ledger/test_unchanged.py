"""Proofs that edited training code does the same: what is run, what is compared, what is written down."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_records import record_of

from fercore import cli, papers, provenance, records
from fercore.book import made
from fercore.data import catalogue
from fercore.errors import RecordError
from fercore.ledger import found, unchanged
from fercore.ledger.found import stale
from fercore.ledger.unchanged import Proof
from fercore.paths import ROOT
from fercore.records import Step
from fercore.training import experiments

PROOF = Proof("lan --preset quick", before="old", after="new", differences=(), best_is_last=False)


def test_proofs_are_kept_once_and_in_order(tmp_path: Path) -> None:
    assert records.steps(tmp_path) == []
    for proof in (PROOF, PROOF._replace(group="baselines"), PROOF, PROOF._replace(after="newer")):
        unchanged.keep(proof, tmp_path)
    lines = (tmp_path / records.PROOFS).read_text().splitlines()
    assert lines == [
        "scope,before,after", "baselines,old,new", "lan --preset quick,old,new", "lan --preset quick,old,newer",
    ]  # fmt: skip
    assert records.steps(tmp_path)[1] == Step("lan --preset quick", "old", "new")
    assert not list(tmp_path.glob("*.partial"))


def test_a_group_is_a_command_without_seed_fold_and_share() -> None:
    command = (
        "fercore train lan --preset quick --dataset kdef-twin --seed 2 --set fold=3 --set alpha=0.1 --set share=0.5"
    )
    assert record_of().model_copy(update={"command": command}).group == (
        "lan --preset quick --dataset kdef-twin --set alpha=0.1"
    )


def test_what_is_proven_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "reference_records", lambda: tmp_path)
    record, now = record_of(), provenance.code_of("lan")
    origin = {record.name: {"group": record.group, "code": record.code}}
    assert stale(record) and record.name in made.stale_mark(origin)
    unchanged.keep(PROOF._replace(group="lan --preset paper", before=record.code, after=now), tmp_path)
    assert stale(record)
    unchanged.keep(PROOF._replace(group=record.group, before=record.code, after="later"), tmp_path)
    assert stale(record)
    unchanged.keep(PROOF._replace(group="lan", before="later", after=now), tmp_path)
    assert not stale(record) and not made.stale_mark(origin)


def test_a_record_of_a_twin_that_is_designed_anew_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = next(one for one in records.find() if one.data.name == "rafdb-twin" and not stale(one))
    anew = record.data.made | {"parameters": record.data.made["parameters"] | {"blur": 3.0}}
    other = record.data.model_copy(update={"made": anew})
    assert stale(record.model_copy(update={"data": other})), "trained on it"
    assert stale(record.model_copy(update={"further": {"rafdb-twin": other}})), "tested on it, or trained on it first"
    changed = record.model_copy(update={"data": other, "recipe": record.recipe | {"data": {"blur": 3.0}}})
    assert not stale(changed), "what a recipe changes about a twin is no new design"
    monkeypatch.setattr(found, "reference_records", lambda: tmp_path)
    (tmp_path / record.name).mkdir()
    for renewed in (record, record.model_copy(update={"data": other})):
        text = renewed.model_dump_json()
        monkeypatch.setattr(records, "find", lambda root, text=text: [records.Record.model_validate_json(text)])
        found._of_older_twins.cache_clear()
        assert found.of_older_twins() == ({record.name} if renewed.data == other else set())
    origin = {record.name: {"group": record.group, "code": record.code}}
    assert record.name in made.stale_mark(origin)
    found._of_older_twins.cache_clear()


def test_every_committed_step_is_of_a_record_that_is_here() -> None:
    groups = {record.group for record in records.find()}
    groups |= {group.partition(" ")[0] for group in groups}
    assert {step.scope for step in records.steps()} <= groups


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository of two commits in place of ours; the first one's id."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("config", "user.name", "test")
    git("config", "user.email", "test")
    ids = []
    for text in ("before", "after"):
        (tmp_path / "code.py").write_text(text)
        git("add", "code.py")
        git("commit", "-qm", text)
        ids.append(git("rev-parse", "HEAD"))
    monkeypatch.setattr(unchanged, "ROOT", tmp_path)
    return ids[0]


def test_a_commit_is_looked_at_beside_the_work_and_left(repository: str) -> None:
    with unchanged.checkout(repository) as tree:
        assert (tree / "code.py").read_text() == "before" and (unchanged.ROOT / "code.py").read_text() == "after"
    assert not tree.exists()
    there = subprocess.run(["git", "worktree", "list"], cwd=unchanged.ROOT, capture_output=True, text=True).stdout
    assert len(there.splitlines()) == 1
    with pytest.raises(RecordError, match="There is no commit 1234567 here"), unchanged.checkout("1234567"):
        pass


@pytest.fixture(scope="module")
def pictures() -> dict[str, Path]:
    return {"kdef-twin": catalogue.prepare("kdef-twin").path}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> records.Record:
    """The shortened run of a smoke command with the code that is here."""
    record = record_of(image_size=32, width=8, epochs=1, seed=3)
    with unchanged.Runner(ROOT, pictures) as runner:
        run = runner.run(unchanged.short_commands(record, 1, tmp_path_factory.mktemp("records"))[0])
    run.metrics["test"]["accuracy_low"] = 0.1  # as older code wrote it
    return run


def test_a_shortened_run_goes_through_several_epochs_on_few_images(run: records.Record) -> None:
    assert run.recipe["images"] == 192 and run.data.images["train"] == 192 and run.recipe["seed"] == 1
    assert {stage: len(rows) for stage, rows in run.history.items()} == {"backbone": 3, "method": 3}
    assert run.code == provenance.code_of("lan")


@pytest.mark.parametrize(
    "record", {record.group: record for record in records.find()}.values(), ids=lambda record: record.name
)
def test_a_shortened_command_is_one_that_can_be_run(record: records.Record, tmp_path: Path) -> None:
    recipe = experiments.recipe_of(record)
    for words in unchanged.short_commands(record, 0, tmp_path):
        fields = dict(cli._field(word) for before, word in pairwise(words) if before == "--set")
        short = papers.module(recipe.paper).recipe(recipe.preset, recipe.dataset, **fields)
        assert short.epochs == 3 and short.protocol == recipe.protocol
        assert not papers.pretraining().keys() & set(experiments.starts_of(short).values())


def test_a_command_that_fails_says_why(tmp_path: Path, pictures: dict[str, Path]) -> None:
    record = record_of()
    record._written = record.recipe | {"method": "resnet18x"}
    with unchanged.Runner(ROOT, pictures) as runner, pytest.raises(RecordError, match=r"failed in .*resnet18x"):
        runner.run(unchanged.short_commands(record, 0, tmp_path)[1])


def test_older_code_is_told_every_field_that_it_knows(tmp_path: Path, pictures: dict[str, Path]) -> None:
    """A field that a record lacks may have another value by default in the code that it is compared with."""
    record = record_of()
    record._written = {name: value for name, value in record.recipe.items() if name != "schedule"}
    now, before, known = unchanged.short_commands(record, 0, tmp_path)
    said = [any(word.startswith("schedule=") for word in words) for words in (now, before, known)]
    assert said == [True, True, False]
    tried = []

    class Old:
        def run(self, words: list[str]) -> str:
            tried.append(words)
            if len(tried) == 1:
                raise unchanged.UnknownFieldError("it failed")
            return "record"

    assert unchanged._as_known(Old(), before, known) == "record" and tried == [before, known]
    with unchanged.Runner(ROOT, pictures) as runner, pytest.raises(unchanged.UnknownFieldError, match="no parameter"):
        runner.run([*now[:-2], "--set", "colour=red", *now[-2:]])


def edited(run: records.Record, change: str) -> records.Record:
    """The run with one thing otherwise."""
    other = run.model_copy(deep=True)
    arrays = run.arrays()
    if change == "an array":
        arrays["probabilities"] = arrays["probabilities"] + np.float16(0.001)
    if change == "the type of an array":
        arrays["probabilities"] = arrays["probabilities"].astype(np.float32)
    if change == "an array is gone":
        del arrays["confusion_test"]
    if change == "a weight":
        other.weights["final"].hash = "0"
    if change == "a number":
        other.metrics["test"]["macro_f1"] += 1e-12
    if change == "a loss":
        other.history["method"][2]["train_map"] += 1e-12
    if change == "a time":
        other.history["method"][2]["seconds"] += 1
    if change == "an interval":
        other.metrics["test"].pop("accuracy_low")
    if change == "one more number":
        other.metrics["test"]["pose_accuracy"] = 0.5
    object.__setattr__(other, "arrays", lambda: arrays)
    return other


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("an array", ["arrays.probabilities"]), ("the type of an array", ["arrays.probabilities"]),
        ("an array is gone", ["arrays.confusion_test"]), ("a weight", ["weights.final.hash"]),
        ("a number", ["metrics.test.macro_f1"]), ("a loss", ["history.method.2.train_map"]), ("a time", []),
        ("an interval", []), ("one more number", []),
    ],
)  # fmt: skip
def test_every_number_counts_but_times(run: records.Record, change: str, found: list[str]) -> None:
    assert list(unchanged.lost(run, edited(run, change))) == found


class Pretend:
    """In place of a process: records whose last epoch is the best for the first seeds."""

    def __init__(self, tree: Path, run: records.Record, change: str = "", late: int = 0, code: str = "") -> None:
        self.run_, self.change, self.late, self.code, self.seeds = run, change, late, code, list[int]()
        self.here = tree == unchanged.ROOT

    def __enter__(self) -> Pretend:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, words: list[str]) -> records.Record:
        seed = int(words[words.index("--seed") + 1])
        self.seeds.append(seed)
        run = edited(self.run_, self.change if self.here else "")
        for number, row in enumerate(run.history["method"]):
            row["validation_accuracy"] = 0.5 + 0.1 * number * (1 if seed < self.late else -1)
        run.code = "now" if self.here else self.code or record_of().code
        return run


def proof_of(
    monkeypatch: pytest.MonkeyPatch, repository: str, run: records.Record, **pretended: Any
) -> tuple[Proof, list[int]]:
    """The proof of one record by pretended runs, and the seeds that were tried."""
    made_by = record_of().model_copy(update={"commit": {"id": repository}})
    runners: list[Pretend] = []

    def runner(tree: Path, pictures: dict[str, Path]) -> Pretend:
        assert list(pictures) == ["kdef-twin"]
        runners.append(Pretend(tree, run, **pretended))
        return runners[-1]

    monkeypatch.setattr(unchanged, "Runner", runner)
    monkeypatch.setattr(records, "steps", lambda root=None: [])
    (proof,) = unchanged.prove([made_by, made_by])
    return proof, runners[-1].seeds


def test_equal_results_are_a_proof_and_others_are_none(
    repository: str, run: records.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, seeds = proof_of(monkeypatch, repository, run)
    assert proof.holds and not proof.best_is_last and seeds == [0]
    assert (proof.before, proof.after) == (record_of().code, "now")
    proof, _ = proof_of(monkeypatch, repository, run, change="a weight")
    assert not proof.holds and proof.differences == ("weights.final.hash",)
    proof, _ = proof_of(monkeypatch, repository, run, code="e")
    assert not proof.holds and re.search(r"was made by the code .*, the commit has e", proof.differences[0])


def test_seeds_are_tried_until_the_best_epoch_is_not_the_last(
    repository: str, run: records.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, seeds = proof_of(monkeypatch, repository, run, late=2)
    assert proof.holds and not proof.best_is_last and seeds == [0, 1, 2]
    proof, seeds = proof_of(monkeypatch, repository, run, late=99)
    assert proof.holds and proof.best_is_last and seeds == list(range(unchanged.SEEDS))
