"""Proofs that edited training code does the same: what is run, what is compared, what is written down."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_records import record_of

from fercore import experiments, made, records, unchanged
from fercore.errors import RecordError
from fercore.paths import ROOT
from fercore.unchanged import Proof

PROOF = Proof("lan-x", before="aa", after="aa", made_by="old", code="new")


def test_proofs_are_kept_once_and_in_order(tmp_path: Path) -> None:
    assert records.proven(tmp_path) == set()
    for proof in (PROOF, PROOF._replace(record="baselines-x"), PROOF, PROOF._replace(code="newer")):
        unchanged.keep(proof, tmp_path)
    lines = (tmp_path / records.PROOFS).read_text().splitlines()
    assert lines == [
        "record,code,made_by,results", "baselines-x,new,old,aa", "lan-x,new,old,aa", "lan-x,newer,old,aa",
    ]  # fmt: skip
    assert records.proven(tmp_path) == {("baselines-x", "new"), ("lan-x", "new"), ("lan-x", "newer")}
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_proven_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "reference_records", lambda: tmp_path)
    record = record_of()
    origin = {record.name: {"paper": "lan", "code": record.code}}
    assert experiments.stale(record) and record.name in made.stale_mark(origin)
    unchanged.keep(PROOF._replace(record="another", code=experiments.code_of("lan")), tmp_path)
    assert experiments.stale(record)
    unchanged.keep(PROOF._replace(record=record.name, code=experiments.code_of("lan")), tmp_path)
    assert not experiments.stale(record) and not made.stale_mark(origin)


def test_every_committed_proof_is_of_a_record_that_is_here() -> None:
    known = {record.name: record.code for record in records.find()}
    file = ROOT / "book" / "records" / records.PROOFS
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]] if file.exists() else []
    assert all(known.get(name) == made_by for name, _, made_by, _ in rows)


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


def shortened_to(monkeypatch: pytest.MonkeyPatch, *, code: str = "c", accuracy: float = 0.5) -> None:
    """In place of two runs: here the accuracy is .5 by code d, at the commit what is asked for."""

    def shortened(record: Any, tree: Path, root: Path) -> records.Record:
        here = tree == unchanged.ROOT
        change = {"code": "d"} if here else {"code": code, "metrics": {"test": {"accuracy": accuracy}}}
        return record.model_copy(update=change)

    monkeypatch.setattr(unchanged, "shortened", shortened)


def test_equal_results_are_a_proof_and_others_are_none(repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of().model_copy(update={"commit": {"id": repository}})
    shortened_to(monkeypatch)
    proof = unchanged.prove(record)
    assert proof.holds and (proof.made_by, proof.code) == ("c", "d")
    shortened_to(monkeypatch, accuracy=0.5001)
    assert not unchanged.prove(record).holds
    shortened_to(monkeypatch, code="e")
    with pytest.raises(RecordError, match="was made by the code c, the commit has e"):
        unchanged.prove(record)


def test_an_earlier_proof_spares_the_second_run(
    repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of().model_copy(update={"commit": {"id": repository}})
    shortened_to(monkeypatch)
    unchanged.keep(unchanged.prove(record, root=tmp_path), tmp_path)
    ran = []
    shortened = unchanged.shortened
    monkeypatch.setattr(unchanged, "shortened", lambda *given: ran.append(given[1]) or shortened(*given))
    again = unchanged.prove(record, root=tmp_path)
    assert again.holds and ran == [unchanged.ROOT]
    monkeypatch.setattr(records.Record, "results", property(lambda _: "others"))
    assert unchanged.prove(record, root=tmp_path).holds and len(ran) == 3, "other results: both run again"


def test_a_shortened_run_is_the_command_on_few_images_and_the_same_each_time(tmp_path: Path) -> None:
    command = "fercore train lan --preset smoke --dataset kdef-twin --seed 3 --set method=resnet18"
    record = record_of().model_copy(update={"command": command, "recipe": record_of().recipe | {"backbone_epochs": 0}})
    one, two = (unchanged.shortened(record, ROOT, tmp_path / name) for name in "ab")
    assert one.results == two.results and one.code == experiments.code_of("lan")
    assert one.recipe["images"] == unchanged.SHORT["images"] and one.recipe["seed"] == 3
    assert one.data.images["train"] == unchanged.SHORT["images"]
    with pytest.raises(RecordError, match=r"The shortened run of .* failed in .*resnet18x"):
        unchanged.shortened(record.model_copy(update={"command": command + "x"}), ROOT, tmp_path / "c")
