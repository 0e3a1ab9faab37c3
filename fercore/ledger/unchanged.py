"""Does edited training code still do the same? A proof by shortened runs, which may save days of training.

A record is current while the code that a run goes through is the code that made it. After an edit that should change
no number, a command of each group of records (those that differ in seed, fold or share alone) is run twice, on few
images and for few epochs: in a checkout of the commit that made them, and here. Where every number, array and weight is
equal to the last bit, a line beside the records says that the code of now does for this group what the other did.

A shortened run has three epochs a stage, so that it goes through what happens once and through what comes again, from
small images to whole ones where the recipe has both, and through the return to the best epoch where that is not the
last one: seeds are tried until it is not.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fercore import records
from fercore.errors import RecordError
from fercore.paths import ROOT, prepared_root, reference_records
from fercore.records import Record, Step
from fercore.training import experiments

SHORT = {"epochs": 3, "backbone_epochs": 3, "small_epochs": 1, "backbone_small_epochs": 1}
"""What shortens a run, where its recipe has it; our own pre-training, whose records are proven themselves, gives way to
random weights."""
IMAGES = ((64, 192), (1024, 48))
"""Side of the images up to which so many of each split are taken."""
SEEDS = 6
"""Seeds that are tried until the best epoch is not the last."""
LEFT_OUT = {"accuracy_low", "accuracy_high", "interval_over"}
"""Numbers that older records hold and that are computed where they are shown now."""
WORKER = """
import contextlib, io, json, sys
from fercore import cli
for line in sys.stdin:
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            cli.app(json.loads(line), standalone_mode=False)
        print(json.dumps(told.getvalue().splitlines()[-1]), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
"""


class Proof(NamedTuple):
    """Two shortened runs of one command: what they differ in (nothing, where the proof holds), and the codes."""

    group: str
    before: str
    after: str
    differences: tuple[str, ...]
    best_is_last: bool  # no seed was found by which it is not

    @property
    def holds(self) -> bool:
        return not self.differences


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


class Runner:
    """One process that runs commands of a tree one after the other, so that libraries are loaded once."""

    def __init__(self, tree: Path) -> None:
        environment = {"PYTHONPATH": str(tree), "FERCORE_PREPARED": str(prepared_root()), "OMP_NUM_THREADS": "1"}
        self.tree = tree
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=tree, env=os.environ | environment | {"FERCORE_PROGRESS": "0"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, words: Sequence[str]) -> Record:
        """The record that ``fercore WORDS`` writes; an error of the command, or of the process, is one here."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(words)) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        if isinstance(answer, dict):
            raise RecordError(f"fercore {shlex.join(words)} failed in {self.tree}: {answer['error']}")
        return records.read(answer)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def short_command(record: Record, seed: int, root: Path) -> list[str]:
    """The words of the shortened command of a record's group."""
    recipe = record.recipe
    images = next(number for side, number in IMAGES if recipe["image_size"] <= side)
    short: dict[str, Any] = {name: value for name, value in SHORT.items() if recipe.get(name)} | {"images": images}
    short |= {name: "" for name in experiments.STARTS if recipe.get(name) in experiments.PRETRAINED}
    words = ["train", *shlex.split(record.group), "--seed", str(seed), "--records", str(root)]
    return words + [word for name, value in short.items() for word in ("--set", f"{name}={value}")]


def best_is_last(record: Record) -> bool:
    """Whether the method's last epoch was its best one."""
    reached = [row["validation_accuracy"] for row in record.history["method"]]
    return reached.index(max(reached)) == len(reached) - 1


def different(before: Record, after: Record) -> Iterator[str]:
    """What one record holds that the other has not, or has otherwise: numbers, weights, arrays; times do not count."""

    def numbers(record: Record) -> dict[str, Any]:
        flat = records.flat({"metrics": record.metrics, "history": record.history})
        kept = {name: value for name, value in flat if name.rpartition(".")[2] not in {"seconds", *LEFT_OUT}}
        return kept | {f"weights.{stage}": note.hash for stage, note in record.weights.items()}

    one, two = numbers(before), numbers(after)
    yield from (name for name, value in one.items() if two.get(name) != value)
    one, two = before.arrays(), after.arrays()
    yield from (f"array {name}" for name, value in one.items() if name not in two or not _same(value, two[name]))


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def prove(stale: Sequence[Record], since: str = "") -> Iterator[Proof]:
    """Run the shortened command of each group of records with the code of now, and with the code that made it.

    ``since``: a commit that has the records' code, or code that is known to do the same, where the one that they name
    is not to be had; other code there is an error. Groups of a commit share two processes, one a tree.
    """
    groups = {record.group: record for record in stale}
    by_commit: dict[str, list[Record]] = {}
    for record in groups.values():
        by_commit.setdefault(since or record.commit["id"] or "HEAD", []).append(record)
    known = records.steps()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:
        for commit, own in by_commit.items():
            with checkout(commit) as tree, Runner(tree) as old, Runner(ROOT) as new:
                for number, record in enumerate(own):
                    yield _prove(record, old, new, Path(folder) / f"{commit}-{number}", aside, known)


def _prove(
    record: Record, old: Runner, new: Runner, root: Path, aside: ThreadPoolExecutor, known: Sequence[Step]
) -> Proof:
    for seed in range(SEEDS):
        before_run = aside.submit(old.run, short_command(record, seed, root / f"before-{seed}"))
        after = new.run(short_command(record, seed, root / f"after-{seed}"))
        before = before_run.result()
        if before.code not in records.same_code(record.group, record.code, known):
            what = f"{record.name} was made by the code {record.code}, the commit has {before.code}."
            raise RecordError(what, do="name a commit with that code by --since")
        found = tuple(different(before, after))
        if found or not best_is_last(after):
            break
    return Proof(record.group, before.code, after.code, found, best_is_last(after))


def keep(proof: Proof, root: Path | None = None) -> None:
    """Add a proof that holds to those beside the records, in order; written aside, then renamed."""
    file = (root or reference_records()) / records.PROOFS
    rows = sorted({*records.steps(root), Step(proof.group, proof.before, proof.after)})
    aside = file.with_suffix(f".{os.getpid()}.partial")
    with aside.open("w", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(Step._fields)
        writer.writerows(rows)
    os.replace(aside, file)
