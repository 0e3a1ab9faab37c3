"""Claims: every table, figure and headline number of the five papers, and what our records say of it.

``fercore/published/claims.csv`` lists the claims. ``criteria.csv`` says which
number of which records stands for which published number: the cell (place, row,
column, data set), the records (data set, settings of the recipe), the subset of
the test images and the metric. Values and verdicts are computed, never typed.

Sizes need neither: a criterion that says ``counted`` in place of settings counts the published network itself.

Only records on the real data set are judged; a twin's number is shown beside, and
no more. ``smoke`` runs are no results. A run whose command sets something that
the criterion does not name is a variant and does not count. Of the rest, the
records of the fullest preset are taken: their mean over folds and seeds, with the
wider of the interval over seeds and the bootstrap interval over test images. One
that other code has made than what stands here now counts, and is called stale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from fercore import evaluate, published, records
from fercore.data import catalogue
from fercore.evaluate import Interval
from fercore.paths import ROOT
from fercore.records import Record
from fercore.training import experiments

VERDICTS = ("reproduced", "differs", "not run", "data not at hand")
PRESETS = ("paper", "quick")
"""Presets whose results count, fullest first."""
COUNTED = "counted"
"""What a criterion says in place of records where the published network itself is counted."""
SCALES = {"%": 100.0, "share": 1.0, "M": 1e-6, "G": 1e-9, "": 1.0}
"""From a record's number to the unit that a paper prints."""


class Measured(NamedTuple):
    """A number of ours in the unit of the paper; ``low`` and ``high`` are NaN where the records hold no interval."""

    value: float
    low: float
    high: float
    preset: str
    seeds: int
    folds: int
    records: tuple[str, ...]
    command: str
    stale: tuple[str, ...]  # those of the records that other code has made than what stands here now


class Comparison(NamedTuple):
    """One published number beside ours; ``agrees`` is None where there is nothing to judge."""

    place: str
    row: str
    column: str
    printed: str
    unit: str
    real: Measured | None
    twin: Measured | None
    agrees: bool | None


class Claim(NamedTuple):
    """A table, figure or headline number, with the comparisons that decide its verdict (the headline comes first).

    ``notebook`` and ``cell`` say where it is shown; "" for the cell where no page shows it yet.
    """

    paper: str
    kind: str
    name: str
    title: str
    notebook: str
    cell: str
    data: tuple[str, ...]
    at_hand: bool
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`.

        ``differs`` when one published value lies outside our interval on the
        same real data, ``reproduced`` when every one lies inside; otherwise it
        has not been run, for want of the data or not.
        """
        judged = [c.agrees for c in self.comparisons]
        if False in judged:
            return "differs"
        if judged and all(judged):
            return "reproduced"
        return "not run" if self.at_hand else "data not at hand"

    @property
    def records(self) -> tuple[str, ...]:
        """Names of the records, real and twin, that the comparisons use."""
        measured = [m for c in self.comparisons for m in (c.real, c.twin) if m]
        return tuple(dict.fromkeys(name for m in measured for name in m.records))

    @property
    def stale(self) -> tuple[str, ...]:
        """Those of the records that other code has made than what stands here now."""
        measured = [m for c in self.comparisons for m in (c.real, c.twin) if m]
        return tuple(dict.fromkeys(name for m in measured for name in m.stale))

    @property
    def headline(self) -> Comparison | None:
        """The comparison that stands for the claim: the first on real data, else on a twin, else the first."""
        for chosen in (lambda c: c.real, lambda c: c.twin, lambda c: c):
            if found := next((c for c in self.comparisons if chosen(c)), None):
                return found
        return None


def load(root: Path | None = None) -> list[Claim]:
    """All claims in the papers' order, judged by the records under ``root`` (default: the committed ones)."""
    runs = [run for run in records.find(root) if run.recipe["preset"] in PRESETS]
    stale = stale_names(runs)
    criteria = published.read("criteria")
    real = {run.recipe["dataset"] for run in runs if run.data.real}
    claims = []
    for line in published.read("claims").itertuples():
        own = criteria[(criteria["paper"] == line.paper) & (criteria["claim"] == line.name)]
        comparisons = tuple(_compare(criterion, runs, stale) for criterion in own.itertuples())
        data = tuple(line.data.split())
        at_hand = all(name in real or _prepared_here(name) for name in data)
        fields = (line.paper, line.kind, line.name, line.title, line.notebook, line.cell, data, at_hand)
        claims.append(Claim(*fields, comparisons))
    return claims


def stale_names(runs: Sequence[Record]) -> frozenset[str]:
    """Names of the records that other code has made than what stands here now."""
    return frozenset(run.name for run in runs if records.stale(run))


def unclaimed(root: Path | None = None) -> list[str]:
    """Records at a preset that counts which no claim uses: variants of ours, or a criterion that misses them."""
    used = {name for claim in load(root) for name in claim.records}
    counted = [run.name for run in records.find(root) if run.recipe["preset"] in PRESETS]
    return [name for name in counted if name not in used]


def ledger_rows(root: Path | None = None) -> pd.DataFrame:
    """The ledger, one row a claim: published, ours on real data and on the twin, verdict, where and how.

    The numbers are those of the claim's headline; ``judged`` counts the
    published values that real records could be held against, of all that the
    claim is about. Missing numbers are NaN, missing words "".
    """
    return pd.DataFrame([_ledger_row(claim) for claim in load(root)])


def _ledger_row(claim: Claim) -> dict[str, Any]:
    head = claim.headline
    real, twin = (head.real, head.twin) if head else (None, None)
    judged = sum(c.agrees is not None for c in claim.comparisons)
    shown = real or twin
    return {
        "paper": published.PAPERS[claim.paper],
        "claim": claim.name,
        "kind": claim.kind,
        "title": claim.title,
        "headline": f"{head.row}, {head.column}" if head else "",
        "published": f"{head.printed} {head.unit}".strip() if head else "",
        **_columns("real", real),
        **_columns("twin", twin),
        "judged": f"{judged} of {len(claim.comparisons)}" if claim.comparisons else "",
        "agree": sum(c.agrees is True for c in claim.comparisons),
        "verdict": claim.verdict,
        "notebook": claim.notebook,
        "cell": claim.cell,
        "record": ", ".join(claim.records),
        "stale": ", ".join(claim.stale),
        "command": shown.command if shown else _command(claim),
    }


def _columns(name: str, measured: Measured | None) -> dict[str, Any]:
    parts = ("value", "low", "high", "preset", "seeds", "folds", "stale")
    empty = (math.nan, math.nan, math.nan, "", 0, 0, ())
    return {f"{name} {part}": getattr(measured, part) if measured else empty[k] for k, part in enumerate(parts)}


def _command(claim: Claim) -> str:
    """What runs a claim that has no record: its notebook, where it is written."""
    source = Path("notebooks") / claim.notebook
    return f"papermill {source} out.ipynb -p preset quick" if (ROOT / source).is_file() else ""


def _prepared_here(dataset: str) -> bool:
    return dataset in catalogue.DATASETS and catalogue.at_hand(dataset)


# ------------------------------------------------------------------ comparing


def _compare(criterion: Any, runs: Sequence[Record], stale: frozenset[str]) -> Comparison:
    place = criterion.table or criterion.figure
    cell = published.cell(criterion.paper, place, criterion.row, criterion.column, criterion.of or None)
    if criterion.where == COUNTED:
        real, twin = _counted(criterion, cell["unit"]), None
    else:
        fitting = [run for run in runs if _fits(run, criterion)]
        real = _measure([run for run in fitting if _of(run, criterion.dataset)], criterion, cell["unit"], stale)
        twin = _measure([run for run in fitting if not _of(run, criterion.dataset)], criterion, cell["unit"], stale)
    agrees = _agree(cell["printed"], real, criterion.tolerance)
    return Comparison(place, criterion.row, criterion.column, cell["printed"], cell["unit"], real, twin, agrees)


def _fits(run: Record, criterion: Any) -> bool:
    """Whether a record is of the criterion's paper, data (real or twin) and settings, and sets nothing else."""
    wanted = dict(pair.split("=", 1) for pair in criterion.where.split(";") if pair)
    names = {criterion.dataset, f"{criterion.dataset}-twin"} if criterion.dataset else {run.recipe["dataset"]}
    of = run.recipe["paper"] == criterion.paper and run.recipe["dataset"] in names and run.changed <= set(wanted)
    return of and all(str(run.recipe.get(name)) == value for name, value in wanted.items())


def _counted(criterion: Any, unit: str) -> Measured:
    """A size that needs neither data nor training: of the network at its published size, by ``PART.FIELD``."""
    part, field = criterion.metric.split(".")
    value = float(SCALES[unit] * getattr(_sizes(criterion.paper)[part], field))
    return Measured(value, math.nan, math.nan, COUNTED, 0, 0, (), "", ())


@functools.cache
def _sizes(paper: str) -> dict[str, evaluate.Cost]:
    return experiments.paper(paper).sizes()


def _of(run: Record, dataset: str) -> bool:
    """Whether a record counts as one on the criterion's real data."""
    return run.data.real or not dataset


def _measure(runs: Sequence[Record], criterion: Any, unit: str, stale: frozenset[str]) -> Measured | None:
    """Mean and interval over the records of the fullest preset that hold the metric; None if none does."""
    preset = next((p for p in PRESETS if any(run.recipe["preset"] == p for run in runs)), "")
    chosen = [run for run in runs if run.recipe["preset"] == preset]
    found = [(run, value) for run in chosen if (value := _value(run, criterion.subset, criterion.metric))]
    if not found:
        return None
    by_seed: dict[int, list[Interval]] = {}
    for run, value in found:
        by_seed.setdefault(run.recipe["seed"], []).append(value)
    mean = _over([_over_folds(values) for values in by_seed.values()])
    folds = len({run.recipe["fold"] for run, _ in found})
    names = tuple(run.name for run, _ in found)
    scaled = (float(SCALES[unit] * end) for end in mean)
    old = tuple(name for name in names if name in stale)
    return Measured(*scaled, preset, len(by_seed), folds, names, found[0][0].command, old)


def _value(run: Record, subset: str, metric: str) -> Interval | None:
    """A record's number with its 95 % interval; a recall's is Wilson's, from the confusion matrix; None if absent."""
    at: Any = run.metrics.get(subset) if subset else run.model
    *path, last = metric.split(".")
    for name in path:
        at = at.get(name) if isinstance(at, dict) else None
    if not isinstance(at, dict) or at.get(last) is None:
        return None
    value = float(at[last])
    low, high = (at.get(f"{last}_{end}", math.nan) for end in ("low", "high"))
    if path == ["recall"] and (counts := run.arrays().get(f"confusion_{subset}")) is not None:
        images = int(counts[run.classes.index(last)].sum())
        low, high = stats.binomtest(round(value * images), images).proportion_ci(method="wilson")
    return Interval(value, float(low), float(high))


def _over_folds(values: Sequence[Interval]) -> Interval:
    """Mean over folds, whose test images are different ones: half widths add in squares."""
    value = float(np.mean([v.value for v in values]))
    below = math.sqrt(sum((v.value - v.low) ** 2 for v in values)) / len(values)
    above = math.sqrt(sum((v.high - v.value) ** 2 for v in values)) / len(values)
    return Interval(value, value - below, value + above)


def _over(values: Sequence[Interval]) -> Interval:
    """Mean over seeds on the same test images: the wider of the interval over seeds and the mean bootstrap interval."""
    value, low, high = (float(np.mean([getattr(v, end) for v in values])) for end in Interval._fields)
    if len(values) > 1:
        seeds = evaluate.over_seeds([v.value for v in values])
        low, high = float(np.fmin(low, seeds.low)), float(np.fmax(high, seeds.high))
    return Interval(value, low, high)


def _agree(printed: str, real: Measured | None, tolerance: str) -> bool | None:
    """Whether the published value, as far as it is printed, lies in our interval or within a tolerance in per cent."""
    if real is None or not printed:
        return None
    low, high = real.low, real.high
    if tolerance:
        low, high = (real.value * (1 + sign * float(tolerance) / 100) for sign in (-1, 1))
    if math.isnan(low) or math.isnan(high):
        return None
    half = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    return low - half <= float(printed) <= high + half
