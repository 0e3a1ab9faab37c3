"""Does edited training code still do the same? A proof by shortened runs, which may save days of training.

A record is current while the code that a run goes through is the code that made it. After an edit that should change
no number, a command of each group of records (those that differ in seed, fold or share alone) is run twice, on few
images and for few epochs: in a checkout of the commit that made them, and here. Where every number, array and weight is
equal to the last bit, a line beside the records says that the code of now does for this group what the other did.

A shortened run has three epochs a stage, so that it goes through what happens once and through what comes again, from
small images to whole ones where the recipe has both, and through the return to the best epoch where that is not the
last one: seeds are tried until it is not. Both runs get the same pictures, of twins those of preset smoke, whatever a
record was trained on: how pictures come about is no part of this code.
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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fercore import papers, records
from fercore.data import catalogue
from fercore.errors import RecordError
from fercore.ledger.compare import differences, is_result
from fercore.paths import ROOT, reference_records
from fercore.recipe import Recipe
from fercore.records import Record, Step
from fercore.training import experiments
from fercore.training.loop import save_weights

SHORT = {
    "epochs": 3, "backbone_epochs": 3, "first_epochs": 3, "small_epochs": 1, "backbone_small_epochs": 1,
    "decay_epochs": 1, "refresh": 2,
}  # fmt: skip
"""What shortens a run, where its recipe has it; our own pre-training, whose records are proven themselves, gives way to
a file of its network as it begins, so that weights are read and taken over as ever."""
OPTIONS = {"paper", "preset", "dataset", "seed"}
"""Fields that the command line has options for."""
IMAGES = ((64, 192), (1024, 32))
"""Side of the images up to which so many of each split are taken."""
SEEDS = 3
"""Seeds that are tried until the best epoch is not the last."""
LEFT_OUT = {"accuracy_low", "accuracy_high", "interval_over"}
"""Numbers that older records hold and that are computed where they are shown now."""
WORKER = """
import contextlib, io, json, pathlib, sys
from fercore import cli
from fercore.data import catalogue, prepared
pictures = json.loads(sys.argv[1])
catalogue.prepare = lambda name, *_, **__: prepared.open_prepared(pathlib.Path(pictures[name]))
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


class UnknownFieldError(RecordError):
    """A command names a field that the code of a tree does not have."""


class Runner:
    """One process that runs commands of a tree one after the other, so that libraries are loaded once.

    ``pictures``: where the prepared data sets lie that it gets, by name.
    """

    def __init__(self, tree: Path, pictures: Mapping[str, Path]) -> None:
        self.tree = tree
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(pictures, default=str)], cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "FERCORE_PROGRESS": "0"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, words: Sequence[str]) -> Record:
        """The record that ``fercore WORDS`` writes; an error of the command, or of the process, is one here."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(words)) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        if isinstance(answer, dict):
            kind = UnknownFieldError if "there is no parameter" in answer["error"] else RecordError
            raise kind(f"fercore {shlex.join(words)} failed in {self.tree}: {answer['error']}")
        return records.read(answer)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def short_commands(record: Record, seed: int, root: Path) -> tuple[list[str], list[str], list[str]]:
    """The words of a record's shortened command as they are now; the same for older code, with every field of now, and
    with those alone that the record knows.

    Every field is said where it can be, because what a command leaves out may have been another value then. The records
    are written below ``root``.
    """
    recipe = experiments.recipe_of(record)
    images = next(number for side, number in IMAGES if recipe.image_size <= side)
    short: dict[str, Any] = {name: value for name, value in SHORT.items() if getattr(recipe, name, 0)}
    ours = papers.pretraining().keys() & set(experiments.starts_of(recipe).values())
    files = {name: str(_as_it_begins(name, recipe, root)) for name in ours}
    short |= {name: files[value] for name, value in recipe if isinstance(value, str) and value in ours}
    short |= {"images": images, "data": {}}

    def words(fields: Mapping[str, Any], folder: str) -> list[str]:
        fields = fields | {name: value for name, value in short.items() if name in fields}
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        said = [word for name, text in texts.items() if name not in OPTIONS for word in ("--set", f"{name}={text}")]
        options = ["--preset", recipe.preset, "--dataset", recipe.dataset, "--seed", str(seed)]
        return ["train", recipe.paper, *options, *said, "--records", str(root / folder)]

    now = recipe.model_dump()
    then = {name: record.written[name] for name in now.keys() & record.written}
    return words(now, "after"), words(now | then, "before"), words(then, "before")


def _as_it_begins(name: str, recipe: Recipe, root: Path) -> Path:
    """The file of the network that our own pre-training of a recipe begins with, in place of what it comes to."""
    module = papers.module(papers.pretraining()[name])
    own = module.pretraining_of(recipe)
    file = root / f"{name}-{own.key()}.safetensors"
    if not file.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            save_weights(module.model(own, 2), file, classes=(name,))
    return file


def best_is_last(record: Record) -> bool:
    """Whether the method's last epoch was its best one."""
    reached = [row["validation_accuracy"] for row in record.history["method"]]
    return reached.index(max(reached)) == len(reached) - 1


def lost(before: Record, after: Record) -> Iterator[str]:
    """Results of the run with the older code that the other one has not, or has otherwise; it may have more."""
    for name, old, _ in differences(before, after):
        if is_result(name) and old is not None and name.rpartition(".")[2] not in LEFT_OUT:
            yield name


def prove(stale: Sequence[Record], since: str = "") -> Iterator[Proof]:
    """Run the shortened command of each group of records with the code of now, and with the code that made it.

    ``since``: a commit that has the records' code, or code that is known to do the same, where the one that they name
    is not to be had; what can't be run, or is other code there, is said in the proof's place. Groups of a commit share
    two processes, one per tree, and what these have trained for another group.
    """
    # Of records that differ in it, one that takes a share of the images has more to go through.
    every = sorted(stale, key=lambda record: -record.recipe["share"])
    groups = {(record.group, record.code): record for record in every}
    by_commit: dict[str, list[Record]] = {}
    for record in groups.values():
        by_commit.setdefault(since or record.commit["id"] or "HEAD", []).append(record)
    known = records.steps()
    recipes = map(experiments.recipe_of, groups.values())
    names = {name for r in recipes for name in (r.dataset, r.also_on, getattr(r, "pretraining", "")) if name}
    pictures = {name: catalogue.prepare(name).path for name in sorted(names)}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:
        for commit, own in by_commit.items():
            with checkout(commit) as tree, Runner(tree, pictures) as old, Runner(ROOT, pictures) as new:
                for record in own:
                    try:
                        yield _prove(record, old, new, Path(folder) / commit, aside, known)
                    except RecordError as error:
                        yield Proof(record.group, record.code, "", (str(error),), False)


def _as_known(runner: Runner, *ways: Sequence[str]) -> Record:
    """The record of the first way to say a command in which the runner's code knows every field."""
    for words in ways[:-1]:
        with contextlib.suppress(UnknownFieldError):
            return runner.run(words)
    return runner.run(ways[-1])


def _prove(
    record: Record, old: Runner, new: Runner, root: Path, aside: ThreadPoolExecutor, known: Sequence[Step]
) -> Proof:
    for seed in range(SEEDS):
        words = short_commands(record, seed, root)
        before_run = aside.submit(_as_known, old, *words[1:])
        after = new.run(words[0])
        before = before_run.result()
        if before.code not in records.same_code(record.group, record.code, known):
            what = f"{record.name} was made by the code {record.code}, the commit has {before.code}."
            raise RecordError(what, do="name a commit with that code by --since")
        found = tuple(lost(before, after))
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
