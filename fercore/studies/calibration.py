"""Calibration of the twins: where plain baselines land in the papers, and where ours lands at each hardness.

Two things are set: how strong the expressions are that a twin shows (its levels) and its hardness
(`fercore.data.twin_rows.at_hardness`), by the plain baseline alone: no method of the five papers is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fercore import intervals, published, records
from fercore.data import twin_designs
from fercore.data.twin_rows import HARDEST, at_hardness
from fercore.intervals import Interval
from fercore.papers import baselines
from fercore.recipe import Recipe
from fercore.records import Record

TARGETS: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "kdef-twin": (("phanet", "T5", "DenseNet", "FER", "KDEF"), ("dmlnet", "T8", "ResNet50", "KDEF FER", "KDEF")),
    "bu3dfe-twin": (
        ("phanet", "T1", "DenseNet", "FER, -90..90", "BU-3DFE"),
        ("pata", "T2", "baseline", "BU-3DFE 0..90", "BU-3DFE"),
    ),
    "multipie-twin": (
        ("phanet", "T3", "DenseNet", "Average", "Multi-PIE"),
        ("pata", "T2", "baseline", "Multi-PIE -30..30", "Multi-PIE"),
    ),
    "rafdb-twin": (("lan", "T2", "ResNet-18", "accuracy", "RAF-DB"), ("lan", "T5", "ResNet-18", "> 30", "Pose-RAF-DB")),
    "ferplus-twin": (("lan", "T3", "ResNet-18", "accuracy", "FERPlus"),),
    "affectnet-twin": (
        ("lan", "T4", "ResNet-18", "accuracy", "AffectNet"),
        ("phanet", "T7", "DenseNet", "FER", "AffectNet"),
    ),
}
"""Twin -> published cells of plain baselines between which ours should land: paper, table, row, column, data set."""
AROUND = 1.5
"""Points either way of a single published value that count as landing there."""


def targets() -> pd.DataFrame:
    """The published numbers of plain baselines, one row each, in per cent."""
    rows = [
        {"twin": twin, "paper": published.PAPERS[paper], "table": table, "baseline": row, "column": column,
         "accuracy": published.value(paper, table, row, column, dataset)}
        for twin, cells in TARGETS.items()
        for paper, table, row, column, dataset in cells
    ]  # fmt: skip
    return pd.DataFrame(rows)


def band(twin: str) -> tuple[float, float]:
    """Least and greatest of a twin's published baselines in per cent; a single one is widened by ``AROUND``."""
    values = targets().query("twin == @twin")["accuracy"]
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - AROUND, high + AROUND)


def hardness_of(parameters: dict[str, Any]) -> float:
    """The hardness that a twin's parameters stand for; NaN where they are no such setting."""
    hardness = parameters["jitter"] / at_hardness(1)["jitter"]
    expected = at_hardness(min(hardness, HARDEST))
    same = all(math.isclose(parameters[name], value, abs_tol=1e-3) for name, value in expected.items())
    return round(hardness, 3) if same else math.nan


def runs(root: Path | None = None, preset: str = "quick") -> list[Record]:
    """The committed runs of plain networks on twins, or those under ``root``: trained on the twin alone, tested on it
    alone. A paper's own baseline is one of them."""
    found = records.find(root, method="resnet18", preset=preset, pretraining="", also_on="", start="")
    return [run for run in found if run.recipe["dataset"] in TARGETS]


TRIED = {"multipie-twin": (0.2,)}
"""Twin -> further hardnesses at which the page shows the baseline."""


def recipes() -> Iterator[Recipe]:
    """The runs of the plain baseline that the page on calibration shows; KDEF's twin has LAN's."""
    for twin in TARGETS:
        if twin != "kdef-twin":
            yield baselines.recipe("quick", twin)
        for hardness in TRIED.get(twin, ()):
            yield baselines.recipe("quick", twin, data=at_hardness(hardness))


def curve(found: list[Record]) -> pd.DataFrame:
    """One row a run: twin, levels, hardness, seed, fold, accuracy with its 95 % interval in per cent, record.

    ``levels``: the strengths that are shown, weakest to strongest, as ``34``; ``taken``: whether the twin is like this
    now.
    """
    rows = []
    for run in found:
        r, parameters = run.recipe, run.data.made["parameters"]
        levels = "".join(map(str, parameters["levels"]))
        own = (r["dataset"], levels, hardness_of(parameters), _is_taken(run), r["seed"], r["fold"])
        rows.append((*own, *_accuracy([run]), run.name))
    columns = ["twin", "levels", "hardness", "taken", "seed", "fold", "accuracy", "low", "high", "record"]
    order = ["twin", "levels", "hardness", "seed", "fold"]
    return pd.DataFrame(rows, columns=columns).sort_values(order, ignore_index=True)


def settings(found: list[Record]) -> pd.DataFrame:
    """:func:`curve` with the runs of a setting together, over their seeds and folds; ``runs`` says how many."""
    by_name, each = {run.name: run for run in found}, curve(found)
    key = ["twin", "levels", "hardness", "taken"]
    rows = [
        (*setting, len(own), *_accuracy([by_name[name] for name in own["record"]]))
        for setting, own in each.groupby(key, dropna=False)
    ]
    return pd.DataFrame(rows, columns=[*key, "runs", "accuracy", "low", "high"])


def _accuracy(own: Sequence[Record], subset: str = "test") -> Interval:
    """Accuracy of some runs in per cent and its 95 % interval."""
    return Interval(*(100 * end for end in intervals.estimate(own, subset=subset).interval))


def _by_twin(found: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    for twin in sorted({run.recipe["dataset"] for run in found}):
        yield twin, [run for run in found if run.recipe["dataset"] == twin]


def standing(found: Sequence[Record]) -> pd.DataFrame:
    """One row a twin that was run as it is now: ours beside the published band, and how they lie.

    ``lands``: ``inside`` the band, ``interval meets it``, ``above`` or ``below``.
    """
    rows = []
    for twin, own in _by_twin(at_taken(found)):
        (least, most), ours = band(twin), _accuracy(own)
        if least <= ours.value <= most:
            lands = "inside"
        else:
            lands = "above" if ours.low > most else "below" if ours.high < least else "interval meets it"
        rows.append((twin, least, most, *ours, lands))
    return pd.DataFrame(rows, columns=["twin", "published from", "to", "ours", "low", "high", "lands"])


def taken(twin: str, preset: str = "quick") -> float:
    """The hardness that a twin has now."""
    return hardness_of(twin_designs.parameters(twin, preset).model_dump())


def at_taken(found: list[Record]) -> list[Record]:
    """Of some runs those on twins as they are now: every parameter of the pictures is the one that stands here."""
    return [run for run in found if _is_taken(run)]


def _is_taken(run: Record) -> bool:
    """Whether the twin's parameters are now as they were at the run."""
    return twin_designs.as_designed(run.data.name, run.data.made)


def by_yaw(found: Sequence[Record]) -> pd.DataFrame:
    """Accuracy with its 95 % interval in per cent, one row a twin and pan, over seeds and folds."""
    rows = [
        (twin, float(subset.removeprefix("pan_")), *_accuracy(own, subset))
        for twin, own in _by_twin(found)
        for subset in own[0].metrics
        if subset.startswith("pan_")
    ]
    columns = ["twin", "yaw", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:2], ignore_index=True)


def confusions(found: list[Record], most: int = 3) -> pd.DataFrame:
    """The most frequent confusions of each twin: true class, what it is taken for, per cent of the true class."""
    rows = []
    for twin, own in _by_twin(found):
        counts = sum(run.arrays()["confusion_test"] for run in own)
        share = pd.DataFrame(100 * counts / counts.sum(1, keepdims=True).clip(min=1), own[0].classes, own[0].classes)
        wrong = share.mask(np.eye(len(share), dtype=bool)).stack()
        rows += [(twin, *pair, percent) for pair, percent in wrong.nlargest(most, keep="last").items()]
    return pd.DataFrame(rows, columns=["twin", "shown", "taken for", "per cent"])
