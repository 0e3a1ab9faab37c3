"""Claims: every gain, table, figure and headline number of the five papers, and what our records say of it.

``claims.csv`` of :mod:`fercore.published` lists tables, figures and numbers, ``gains.csv`` the gains that the papers
live on: how far a method is above its own baseline. ``criteria.csv`` says which number of which records stands beside
which published cell. Values and verdicts are computed, never typed.

Two questions are answered apart. **Does the gain appear?** Both methods on the same real data, from the same start,
with the same seeds, at any size. **Is the absolute number reached?** Only where the setting is the paper's: its size,
its values, its kind of pre-training; a record of another setting is shown and not judged. A margin that was fixed
before decides, see :func:`verdict_of`. A twin's number stands beside and is never judged. ``smoke`` runs are no
results. A record that older code has made counts until it is made again, and is called stale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fercore import intervals, papers, published, records
from fercore.backbones.cost import Cost
from fercore.data import catalogue, protocols
from fercore.errors import RecordError
from fercore.intervals import Estimate
from fercore.ledger import found
from fercore.paths import ROOT
from fercore.records import Record

VERDICTS = {
    "reproduced": "our interval lies within the margin of the published value",
    "differs": "it lies wholly outside",
    "inconclusive": "the interval is too wide to say, or there are too few seeds or folds",
    "another setting": "measured on the same real data, but not with the paper's size, values and kind of pre-training",
    "shown": "a page shows it on rendered people or as code; there is nothing to judge",
    "not shown": "no page draws it yet",
    "not run": "the data are available here, but no record holds the comparison yet",
    "twin only": "measured on rendered people; the photographs are licensed, and nobody ran them here",
    "data not available": "it is about licensed images that nobody ran here",
}
"""What can be said of a claim, and what it means."""
JUDGED = ("reproduced", "differs", "inconclusive")
"""Verdicts that the margin decides."""
PRESETS = ("paper", "quick")
"""Presets whose results count, fullest first."""
SEEDS = 3
"""A number that moves with the seed is judged from so many on."""
ABSOLUTE, GAIN = 1.0, 0.5
"""Margins: points either way of a published accuracy; share of a published gain either way of it."""
AGREE = 0.9
"""A table of many cells is reproduced where so large a share of those that say something is, and differs otherwise; it
is inconclusive where fewer than half of all its cells say something."""
OWN_CHOICE = {"estimates", "start", "landmark_weights", "setting"}
"""Fields that may be otherwise than the preset has them: a run with another network, split, length or other data speaks
for no claim."""
COUNTED = "counted"
"""What a criterion says in place of records where the published network itself is counted."""
SCALES = {"%": 100.0, "points": 100.0, "share": 1.0, "M": 1e-6, "G": 1e-9, "": 1.0}
"""From a record's number to the unit that a paper prints."""


class Measured(NamedTuple):
    """A number of ours in the unit of the paper; ``low`` and ``high`` are NaN where the records hold no interval."""

    value: float
    low: float
    high: float
    over: str
    preset: str
    seeds: int
    folds: int
    records: tuple[str, ...]
    command: str
    stale: tuple[str, ...]  # those of the records that are stale
    judged: bool  # whether the setting allows a verdict
    enough: bool  # whether there are seeds and folds enough


class Comparison(NamedTuple):
    """One published number beside ours; ``verdict`` is one of :data:`VERDICTS`."""

    place: str
    row: str
    column: str
    printed: str
    unit: str
    real: Measured | None
    twin: Measured | None
    verdict: str
    criterion: tuple[str, ...]  # what it is about: data set, settings, subset, metric, published value
    margin: float = math.nan  # either way of the published value, in its unit
    note: str = ""  # what is odd about the published value


class Claim(NamedTuple):
    """A gain, table, figure or headline number, with the comparisons that decide its verdict (the headline first).

    ``notebook`` and ``cell`` say where it is shown; "" for the cell where no page shows it yet.
    """

    paper: str
    kind: str
    name: str
    title: str
    notebook: str
    cell: str
    verdict: str
    comparisons: tuple[Comparison, ...]

    @property
    def measured(self) -> list[Measured]:
        """Our numbers, real and twin, of all comparisons."""
        return [m for c in self.comparisons for m in (c.real, c.twin) if m]

    @property
    def records(self) -> tuple[str, ...]:
        """Names of the records, real and twin, that the comparisons use."""
        return tuple(dict.fromkeys(name for m in self.measured for name in m.records))

    @property
    def stale(self) -> tuple[str, ...]:
        """Those of the records that older code has made than what is here now."""
        return tuple(dict.fromkeys(name for m in self.measured for name in m.stale))

    @property
    def headline(self) -> Comparison | None:
        """The comparison that stands for the claim: the first on real data, else on a twin, else the first."""
        return max(self.comparisons, key=lambda c: 2 if c.real else 1 if c.twin else 0, default=None)


def load(root: Path | None = None) -> list[Claim]:
    """All claims in the papers' order, a paper's gains first, judged by the records under ``root`` (default: the
    committed ones). A number that only repeats cells of a table is left out."""
    runs = Runs(root)
    criteria, listed = published.read("criteria"), published.read("claims")
    claims = []
    for paper in published.PAPERS:
        claims += [_gain(line, runs) for line in published.read("gains").query("paper == @paper").itertuples()]
        for line in listed[listed["paper"] == paper].itertuples():
            own = criteria[(criteria["paper"] == paper) & (criteria["claim"] == line.name)]
            comparisons = tuple(_compare(criterion, runs) for criterion in own.itertuples())
            known = {c.criterion for claim in claims if claim.kind == "table" for c in claim.comparisons}
            if line.kind == "number" and comparisons and {c.criterion for c in comparisons} <= known:
                continue
            verdict = _verdict(comparisons, line.cell, line.data.split(), runs)
            fields = (line.kind, line.name, line.title, line.notebook, line.cell, verdict, comparisons)
            claims.append(Claim(paper, *fields))
    return claims


class Runs:
    """The records that count, and what is known of them."""

    def __init__(self, root: Path | None = None) -> None:
        self.all = [run for run in records.find(root) if run.recipe["preset"] in PRESETS]
        self.stale = {run.name for run in self.all if found.stale(run)}
        self.real = {run.recipe["dataset"] for run in self.all if run.data.real}

    def at_hand(self, dataset: str) -> bool:
        """Whether a data set can be run on here, or has been."""
        return dataset in self.real or (dataset in catalogue.DATASETS and catalogue.at_hand(dataset))

    def of(self, paper: str, dataset: str, where: Mapping[str, Any]) -> list[list[Record]]:
        """Runs of each kind with these settings, apart from ablations of the method and from runs that have other data,
        another trunk or another training than their preset."""
        fitting = [run for run in self.all if (run.recipe["paper"], run.recipe["dataset"]) == (paper, dataset)]
        kinds = found.by_kind([run for run in fitting if found.has(run.recipe, where)])
        recipes = [found.kind_of(own[0]) for own in kinds]
        other = [found.is_variant(one, where) or found.departures(one, where) - OWN_CHOICE for one in recipes]
        return [own for own, apart in zip(kinds, other, strict=True) if not apart]


def _enough(runs: Sequence[Record]) -> bool:
    """Whether there are seeds and folds enough to judge."""
    seeds, folds = ({run.recipe[name] for run in runs} for name in ("seed", "fold"))
    wanted = protocols.FOLDS.get(runs[0].recipe["protocol"], 1)
    return len(folds) >= wanted and (len(seeds) >= SEEDS or wanted > 1)


def _preference(runs: Sequence[Record], where: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which of several kinds of runs stands for a claim: the published setting, one with seeds enough, the fullest
    preset, the fewest departures from it, most runs."""
    recipe = found.kind_of(runs[0])
    faithful = found.is_published(recipe, where, published.ABOUT[recipe.paper].get("start", ""))
    place = PRESETS.index(recipe.preset)
    return (not faithful, not _enough(runs), place, len(found.departures(recipe, where)), -len(runs))


def _measured(estimate: Estimate, unit: str, runs: Sequence[Record], all_: Runs, judged: bool) -> Measured:
    value, low, high = (float(SCALES[unit] * end) for end in estimate.interval)
    return Measured(
        value, low, high, estimate.over, runs[0].recipe["preset"],
        len({run.recipe["seed"] for run in runs}), len({run.recipe["fold"] for run in runs}),
        tuple(run.name for run in runs), runs[0].command, tuple(r.name for r in runs if r.name in all_.stale),
        judged, _enough(runs),
    )  # fmt: skip


def _compare(criterion: Any, runs: Runs) -> Comparison:
    place = criterion.table or criterion.figure
    cell = published.cell(criterion.paper, place, criterion.row, criterion.column, criterion.of or None)
    about = (criterion.dataset, criterion.where, criterion.subset, criterion.metric, str(cell["printed"]))
    if criterion.where == COUNTED:
        real, twin = _counted(criterion, cell["unit"]), None
    else:
        real, twin = (_absolute(criterion, cell["unit"], name, runs) for name in _names(criterion.dataset))
    verdict, margin = "", math.nan
    if real and cell["printed"]:
        value, margin = float(cell["value"]), ABSOLUTE * SCALES[cell["unit"]] / 100
        if criterion.tolerance:  # what is printed in few digits may be as far as it was rounded
            margin = max(float(criterion.tolerance) / 100 * value, published.half_unit(cell["printed"]))
        verdict = verdict_of(real, value, margin)
    what = (place, criterion.row, criterion.column, cell["printed"], cell["unit"])
    return Comparison(*what, real, twin, verdict, about, margin, cell["notes"])


def _names(dataset: str) -> tuple[str, str]:
    """A real data set and its twin."""
    return dataset, f"{dataset}-twin"


def _absolute(criterion: Any, unit: str, dataset: str, runs: Runs) -> Measured | None:
    where = found.settings(criterion.where)
    start = published.ABOUT[criterion.paper].get("start", "")
    # What is tested on another set is tested on that set's twin by a network of a twin.
    subset = criterion.subset + ("-twin" if criterion.subset.startswith("on_") and dataset.endswith("-twin") else "")
    for own in sorted(runs.of(criterion.paper, dataset, where), key=lambda own: _preference(own, where)):
        try:
            estimate = intervals.estimate(own, criterion.metric, subset)
        except (KeyError, RecordError):  # it has no such subset or head
            continue
        return _measured(estimate, unit, own, runs, found.is_published(found.kind_of(own[0]), where, start))
    return None


def _counted(criterion: Any, unit: str) -> Measured:
    """A size that needs neither data nor training: of the network at its published size, by ``PART.FIELD``."""
    part, field = criterion.metric.split(".")
    value = float(SCALES[unit] * getattr(_sizes(criterion.paper)[part], field))
    return Measured(value, value, value, COUNTED, COUNTED, 0, 0, (), "", (), True, True)


@functools.cache
def _sizes(paper: str) -> dict[str, Cost]:
    return papers.module(paper).sizes()


def _gain(line: Any, runs: Runs) -> Claim:
    """How far a method is above its baseline: published, on the real data, on the twin."""
    cells = [
        published.cell(line.paper, line.table, row, column, line.of or None)
        for row, column in ((line.row, line.column), (line.against, line.against_column or line.column))
    ]
    printed = float(cells[0]["value"]) - float(cells[1]["value"])
    text = f"{printed:+.2f}"
    real, twin = (_paired(line, name, runs) for name in _names(line.dataset))
    margin, note = GAIN * abs(printed), "; ".join(filter(None, (cell["notes"] for cell in cells)))
    verdict = verdict_of(real, printed, margin) if real else ""
    about = (line.dataset, line.where, line.subset, line.metric, text)
    images = line.column if line.of in line.column else ", ".join(dict.fromkeys((line.of, line.column)))
    title = f"{line.row} over {line.against}, {images.removesuffix(', accuracy')}"
    one = Comparison(line.table, title, line.metric, text, "points", real, twin, verdict, about, margin, note)
    verdict = verdict or _unjudged((one,), [line.dataset], runs)
    return Claim(line.paper, "gain", line.name, title, line.notebook, line.cell, verdict, (one,))


def unprinted(paper: str, root: Path | None = None) -> dict[str, Measured]:
    """Real data set -> the gain of a paper's method over its baseline there, where the paper prints no baseline: there
    is nothing to judge it by."""
    runs, gains = Runs(root), published.read("gains").query("paper == @paper")
    line = next(gains.itertuples())
    without_split = {
        name: ";".join(pair for pair in getattr(line, name).split(";") if not pair.startswith("protocol="))
        for name in ("where", "without")
    }
    others = sorted(runs.real - set(gains["dataset"]))
    found = {name: _paired(line._replace(**without_split), name, runs) for name in others}
    return {name: measured for name, measured in found.items() if measured}


def _paired(line: Any, dataset: str, runs: Runs) -> Measured | None:
    """Both methods on one data set, from the same start and with the same seeds; nothing where there are no two."""
    where, without = found.settings(line.where), found.settings(line.without)
    others = {_apart(own, where, without): own for own in runs.of(line.paper, dataset, without)}
    kinds = [own for own in runs.of(line.paper, dataset, where) if _apart(own, where, without) in others]
    for own in sorted(kinds, key=lambda own: _preference(own, where)):
        own, other = found.paired(own, others[_apart(own, where, without)])
        if own:
            try:
                estimate = intervals.estimate(own, line.metric, line.subset, against=other)
            except (KeyError, RecordError):  # no such subset, or other images
                continue
            return _measured(estimate, "points", own, runs, True)._replace(
                records=tuple(run.name for run in (*own, *other)),
                stale=tuple(run.name for run in (*own, *other) if run.name in runs.stale),
            )
    return None


def _apart(runs: Sequence[Record], *settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What both methods of a pair have alike: every field that is not the paper's own or what sets them apart."""
    recipe = found.kind_of(runs[0])
    shared = set(type(recipe).model_fields) - found.own_fields(recipe) - {"method", "landmark_weights"}
    shared -= {name for each in settings for name in each}
    return tuple(repr(getattr(recipe, name)) for name in sorted(shared))


def verdict_of(ours: Measured, value: float, margin: float) -> str:
    """``reproduced`` where our interval lies within ``margin`` of the published value, ``differs`` where it lies wholly
    outside, ``inconclusive`` otherwise and where there are too few seeds or folds."""
    if not ours.judged:
        return "another setting"
    if not ours.enough or math.isnan(ours.low):
        return "inconclusive"
    if value - margin <= ours.low and ours.high <= value + margin:
        return "reproduced"
    return "differs" if ours.low > value + margin or ours.high < value - margin else "inconclusive"


def _verdict(comparisons: Sequence[Comparison], cell: str, data: Sequence[str], runs: Runs) -> str:
    """Of a claim as a whole: a table of many cells by the share of those that agree."""
    said = [c.verdict for c in comparisons]
    agree, differ = said.count("reproduced"), said.count("differs")
    if agree + differ:
        if 2 * (agree + differ) < len(said):
            return "inconclusive"
        return "reproduced" if agree >= AGREE * (agree + differ) else "differs"
    for one in ("inconclusive", "another setting"):
        if one in said:
            return one
    if not comparisons:
        return "shown" if cell else "not shown"
    return _unjudged(comparisons, data, runs)


def _unjudged(comparisons: Sequence[Comparison], data: Sequence[str], runs: Runs) -> str:
    """Why nothing can be said of a claim about these data sets."""
    if all(map(runs.at_hand, data)):
        return "not run"
    return "twin only" if any(one.twin for one in comparisons) else "data not available"


def rows(claims: Sequence[Claim]) -> pd.DataFrame:
    """The ledger, one row a claim: published, ours on real data and on the twin, verdict, where and how.

    The numbers are those of the claim's headline; ``agree`` counts the published values that are reproduced, of those
    that can be judged, ``apart`` lists those that differ, beside ours. Missing numbers are NaN, missing words "".
    """
    return pd.DataFrame([_row(claim) for claim in claims])


def _row(claim: Claim) -> dict[str, Any]:
    head = claim.headline
    real, twin = (head.real, head.twin) if head else (None, None)
    said = [c.verdict for c in claim.comparisons]
    judged = sum(map(said.count, JUDGED))
    shown = real or twin
    source = Path("notebooks") / claim.notebook
    run = f"papermill {source} out.ipynb -p preset quick" if (ROOT / source).is_file() else ""
    return {
        "paper": published.PAPERS[claim.paper],
        "claim": claim.name,
        "kind": claim.kind,
        "title": claim.title,
        "headline": f"{head.row}, {head.column}" if head else "",
        "published": f"{head.printed} {head.unit}".strip() if head else "",
        "unit": head.unit if head else "",
        **_columns("real", real),
        **_columns("twin", twin),
        "margin": head.margin if head and head.verdict in JUDGED else math.nan,
        "note": head.note if head else "",
        "agree": f"{said.count('reproduced')} of {judged}" if judged else "",
        "apart": "; ".join(
            f"{c.row}, {c.column}: {c.printed}, ours {c.real.value:.2f}"
            for c in claim.comparisons
            if c.verdict == "differs" and len(said) > 1
        ),
        "verdict": claim.verdict,
        "notebook": claim.notebook,
        "cell": claim.cell,
        "record": ", ".join(claim.records),
        "stale": ", ".join(claim.stale),
        "command": shown.command if shown and shown.command else run,
    }


def _columns(name: str, measured: Measured | None) -> dict[str, Any]:
    parts = ("value", "low", "high", "over", "preset", "seeds", "folds", "stale")
    empty = (math.nan, math.nan, math.nan, "", "", 0, 0, ())
    return {f"{name} {part}": getattr(measured, part) if measured else empty[k] for k, part in enumerate(parts)}
