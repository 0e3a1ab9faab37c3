"""Which records the book wants, which of them are missing or stale, and the jobs that make them.

Papers say in their toml files which runs their pages and claims want, in ``[[runs]]``: preset, data set, how many seeds
and folds, some ``methods`` in place of all, ablations in place of methods, further changes under ``set``. Studies that
compare baselines have functions of their own. A job is one training: stages and pre-training that several runs start
from are jobs, too, made once.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from fercore import papers, published, records
from fercore.data import catalogue
from fercore.errors import ParameterError
from fercore.ledger.found import kind_of, stale
from fercore.paths import records_root, reference_records
from fercore.recipe import PRESETS, Recipe, check_preset, unknown
from fercore.records import Record
from fercore.studies import calibration, reality
from fercore.training import experiments

State = Literal["missing", "stale", "current"]
SHARE = 1024
"""MiB that a training is taken to need where none like it was measured."""


class Job(NamedTuple):
    """One training: its recipe, whether it is a stage of others, jobs that come before, what it takes."""

    id: str
    recipe: Recipe
    stage: bool
    before: tuple[str, ...]
    state: State
    minutes: float | None
    mib: int
    gpu: str  # the one that the minutes were measured on; "" for a CPU

    @property
    def command(self) -> str:
        return ("stage of others: " if self.stage else "") + experiments.command(self.recipe)


def wanted(preset: str = "", only: str = "") -> list[Recipe]:
    """Every run that the book wants, the most wanted of each paper first; at one preset, of one paper, or of all."""
    if preset:
        check_preset(preset)
    if only and only not in papers.names():
        raise ParameterError(unknown("paper", only, papers.names()))
    runs = itertools.chain(
        (recipe for name in papers.names() for recipe in _of_paper(name)), reality.all_recipes(), calibration.recipes()
    )
    chosen = (run for run in runs if run.preset == (preset or run.preset) and run.paper == (only or run.paper))
    return list({recipe.key(): recipe for recipe in chosen}.values())


def _of_paper(name: str) -> Iterator[Recipe]:
    module, about = papers.module(name), published.ABOUT.get(name, {})
    for line in about.get("runs", ()):
        changes = [{"method": method} for method in line.get("methods", about["methods"])]
        if "ablations" in line:
            ablations = [published.ablations(name)[ablation] for ablation in line["ablations"]]
            changes = [row for rows in ablations for row in rows.values()]
        places = itertools.product(range(line.get("seeds", 1)), range(line.get("folds", 1)))
        for (seed, fold), change in itertools.product(places, changes):
            given = line.get("set", {}) | change
            yield module.recipe(line["preset"], line["dataset"], **given, seed=seed, fold=fold)


def name_of(recipe: Recipe) -> str:
    """A job's name: that of its record, with the recipe's hash in place of the run's."""
    return records.name_of(recipe.model_dump(), recipe.key())


def jobs(preset: str = "", only: str = "") -> list[Job]:
    """What has to be trained so that every wanted record is there and current, each after what it starts from."""
    found: dict[str, Job] = {}
    for recipe in wanted(preset, only):
        if catalogue.at_hand(recipe.dataset):
            _add(found, recipe, stage=False)
    return [job for job in found.values() if job.state != "current"]


def _add(found: dict[str, Job], recipe: Recipe, *, stage: bool) -> str:
    """Put a recipe's job behind those that it needs; of a run that is current nothing else is asked."""
    name = ("stage-" if stage else "") + name_of(recipe)
    if name in found:
        return name
    state: State = "missing" if stage else state_of(recipe)
    before: list[str] = []
    if state != "current":
        module = papers.module(recipe.paper)
        stages = module.stages(recipe) if hasattr(module, "stages") else {}
        before = [_add(found, own, stage=True) for own in stages.values()]
        before += [_add(found, own, stage=False) for own in _pretraining(recipe).values()]
    open_ = tuple(one for one in before if found[one].state != "current")
    found[name] = Job(name, recipe, stage, open_, state, *_cost(recipe, stage))
    return name


@cache
def _by_recipe(root: Path, _changed: float) -> dict[str, Record]:
    """Records of a folder by their recipes."""
    made = {}
    for record in records.find(root):
        key = kind_of(record).but(seed=record.recipe["seed"], fold=record.recipe["fold"]).key()
        if key not in made or stale(made[key]):
            made[key] = record
    return made


def record_of(recipe: Recipe, root: Path) -> Record | None:
    """The record of a recipe in a folder; a current one before a stale one."""
    return _by_recipe(root, root.stat().st_mtime if root.is_dir() else 0.0).get(recipe.key())


def state_of(recipe: Recipe) -> State:
    """Whether a wanted record is among the committed ones, and made by code that gives what the code of now gives; so
    must be our own pre-training that it starts from."""
    record = record_of(recipe, reference_records())
    if record is None:
        return "missing"
    same = not stale(record)
    for part, before in _pretraining(recipe).items():
        begun = record_of(before, reference_records())
        noted = record.starts.get(part)  # older records do not say it
        same &= state_of(before) == "current" and (noted is None or noted == begun.weights["final"].hash)
    return "current" if same else "stale"


def _pretraining(recipe: Recipe) -> dict[str, Recipe]:
    """The runs of our own pre-training that a run starts from, by the part that they fill."""
    ours = papers.pretraining()
    starts = {part: ours[weights] for part, weights in experiments.starts_of(recipe).items() if weights in ours}
    return {part: papers.module(start).pretraining_of(recipe) for part, start in starts.items()}


def _cost(recipe: Recipe, stage: bool) -> tuple[float | None, int, str]:
    """Minutes and MiB of the last run of the same recipe, and its GPU; else the median of those of the same paper at
    this size and data, as one of them may have waited for others."""
    record = record_of(recipe, reference_records())
    like = {name: getattr(recipe, name) for name in ("paper", "preset", "dataset")}
    found = [record] if record else records.find(**like)
    if not found:
        return None, SHARE, ""
    gpus = Counter(one.machine.get("gpu", "none") for one in found)
    ((gpu, _),) = gpus.most_common(1)
    costs = []
    for one in found:
        rows = one.history.get("backbone" if stage else "method", [])
        own = sum(row["seconds"] for row in rows) if recipe.epochs == len(rows) else one.seconds
        if one.machine.get("gpu", "none") == gpu:
            costs.append((own / 60, one.peak_memory // 2**20))
    minutes, mib = (median(column) for column in zip(*costs, strict=True))
    return minutes, int(mib), "" if gpu == "none" else gpu


def make(name: str, root: Path | None = None) -> Record:
    """Run a job and put its record among the committed ones in place of the stale one of its recipe; weights stay where
    runs are kept. A stage's record stays there, too. One that has been done meanwhile is not done again."""
    job = next((job for preset in PRESETS for job in jobs(preset) if job.id == name), None)
    done = (record_of(recipe, reference_records()) for recipe in wanted() if name_of(recipe) == name)
    if job is None and (record := next(done, None)):
        return record
    if job is None:
        raise ParameterError(f"No job is called '{name}'.", do="fercore plan lists those that are missing or stale")
    root = root or records_root()
    if job.stage:
        return experiments.run_stage(job.recipe, root)
    record = experiments.run(job.recipe, root)
    commit_record(record)
    return record


def commit_record(record: Record) -> Path:
    """Copy a record, without weights, to the committed ones; what it stands in place of goes when it is there."""
    target = reference_records() / record.name
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in ("record.json", "arrays.npz"):
        shutil.copyfile(record.folder / name, aside / name)
    kind = kind_of(record).but(seed=record.recipe["seed"], fold=record.recipe["fold"])
    before = record_of(kind, reference_records())
    shutil.rmtree(target, ignore_errors=True)
    aside.replace(target)
    if before is not None and before.folder != target:
        shutil.rmtree(before.folder)
    return target


def lines(preset: str = "", only: str = "", budget: float = float("inf")) -> Iterator[str]:
    """The jobs as text, in the order in which they are made, and which of them fit into ``budget`` seconds."""
    total, open_ = 0.0, jobs(preset, only)
    absent = {recipe.dataset for recipe in wanted(preset, only) if not catalogue.at_hand(recipe.dataset)}
    yield f"{'minutes':>8} {'MiB':>6}  state    what"
    fits = True
    for job in open_:
        total += 60 * (job.minutes or 0)
        if fits and total > budget:
            fits = False
            yield f"-- {budget / 60:.1f} minutes end here, one training at a time --"
        minutes: Any = "?" if job.minutes is None else f"{job.minutes:.1f}"
        yield f"{minutes:>8} {job.mib:6}  {job.state:<8} {job.command}" + (f"  (on {job.gpu})" if job.gpu else "")
    yield f"{total / 60:8.1f}         {len(open_)} trainings, by the measured ones most like them"
    if absent:
        yield f"Not among them, because the data are not at hand (FERCORE_DATA): runs on {', '.join(sorted(absent))}"
