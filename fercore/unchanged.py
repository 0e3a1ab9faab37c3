"""Does edited training code still do the same? A proof by shortened runs, which may save a day of training.

A record is current while the code that a run goes through is the code that made it. After an edit that should change
no number, the record's command is run twice, on few images and for one epoch a stage: in a checkout of the commit that
made the record, and here. When history, weights, predictions and metrics are equal to the last bit, the code of now is
written down beside the records as proven for this one. A shortened run does not go through everything: late epochs and
rare branches are not seen.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fercore import experiments, records
from fercore.errors import RecordError
from fercore.paths import ROOT, prepared_root, reference_records

SHORT = {"images": 192, "epochs": 1, "backbone_epochs": 1}
"""What shortens a run; stages that a recipe has not stay away, and our own pre-training, whose record is proven itself,
gives way to random weights."""
COLUMNS = ("record", "code", "made_by", "results")


class Proof(NamedTuple):
    """Two shortened runs of one record's command: hashes of their results, and of the code that gave them."""

    record: str
    before: str
    after: str
    made_by: str
    code: str

    @property
    def holds(self) -> bool:
        return self.before == self.after


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A work tree of a commit of this repository, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        done = subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise RecordError(f"There is no commit {commit} here: {done.stderr.strip()}", do="name it with --since")
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, capture_output=True)


def shortened(record: records.Record, tree: Path, root: Path) -> records.Record:
    """The record of the shortened run of this record's command with the code of ``tree``; written under ``root``."""
    short: dict[str, object] = {
        name: value for name, value in SHORT.items() if record.recipe.get(name, 1) or name == "images"
    }
    short |= {name: '""' for name in experiments.STARTS if record.recipe.get(name) in experiments.PRETRAINED}
    words = [word for name, value in short.items() for word in ("--set", f"{name}={value}")]
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "FERCORE_PREPARED": str(prepared_root()),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "fercore.cli", *shlex.split(record.command)[1:], *words, "--records", str(root)],
        cwd=tree, env=environment | {"FERCORE_PROGRESS": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    found = records.find(root)
    if done.returncode or len(found) != 1:
        raise RecordError(f"The shortened run of {record.name} failed in {tree}: {done.stderr.strip()[-500:]}")
    return found[0]


def prove(record: records.Record, since: str = "", root: Path | None = None) -> Proof:
    """Run the shortened command with the code of now, and with that which made the record.

    The second run is left out where an earlier proof beside the records (``root``) already holds its results, from a
    machine that gives the same ones. ``since``: a commit with the record's code, where the one that it names is not to
    be had. Another code there is an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        after = shortened(record, ROOT, Path(folder) / "after")
        if (record.code, after.results) in _known(record, root):
            return Proof(record.name, after.results, after.results, record.code, after.code)
        with checkout(since or record.commit["id"] or "HEAD") as tree:
            before = shortened(record, tree, Path(folder) / "before")
    if before.code != record.code:
        what = f"{record.name} was made by the code {record.code}, the commit has {before.code}."
        raise RecordError(what, do="name a commit with that code by --since")
    return Proof(record.name, before.results, after.results, record.code, after.code)


def _known(record: records.Record, root: Path | None) -> set[tuple[str, str]]:
    """(code, results) of the proofs that there are of a record: what the code that made it gives, shortened."""
    file = (root or reference_records()) / records.PROOFS
    if not file.exists():
        return set()
    with file.open(newline="") as lines:
        return {(row["made_by"], row["results"]) for row in csv.DictReader(lines) if row["record"] == record.name}


def keep(proof: Proof, root: Path | None = None) -> None:
    """Add a proof that holds to those beside the records, in the order of their names; written aside, then renamed."""
    file = (root or reference_records()) / records.PROOFS
    rows: list[dict[str, str]] = []
    if file.exists():
        with file.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if (row["record"], row["code"]) != (proof.record, proof.code)]
    row = {"record": proof.record, "code": proof.code, "made_by": proof.made_by, "results": proof.after}
    aside = file.with_suffix(f".{os.getpid()}.partial")
    with aside.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*rows, row], key=lambda each: (each["record"], each["code"])))
    os.replace(aside, file)
