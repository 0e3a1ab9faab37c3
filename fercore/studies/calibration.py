"""Calibration of the twins: where plain baselines land in the papers, and where ours lands at each hardness.

Two things are set: how strong the expressions are that a twin shows (its levels) and its hardness
(`fercore.data.twin_rows.at_hardness`), by the plain baseline alone: no method of the five papers is looked at.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from fercore import published, records
from fercore.data import twin_designs
from fercore.data.twin_rows import HARDEST, Twin, at_hardness
from fercore.records import Record

TARGETS: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "kdef-twin": (
        ("phanet", "T5", "DenseNet", "FER", "KDEF"),
        ("dmlnet", "T8", "ResNet50", "KDEF FER", "KDEF"),
    ),
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
ENDS = ("accuracy", "accuracy_low", "accuracy_high")
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
    found = records.find(root, method="resnet18", preset=preset, pretraining="", also_on="")
    return [run for run in found if run.recipe["dataset"] in TARGETS]


def curve(found: list[Record]) -> pd.DataFrame:
    """One row a run: twin, levels, hardness, seed, fold, accuracy with its 95 % interval in per cent, record.

    ``levels``: the strengths that are shown, weakest to strongest, as ``34``; ``taken``: whether the twin is like this
    now.
    """
    rows = []
    for run in found:
        parameters, test = run.data.made["parameters"], run.metrics["test"]
        rows.append(
            {
                "twin": run.recipe["dataset"],
                "levels": "".join(map(str, parameters["levels"])),
                "hardness": hardness_of(parameters),
                "taken": not _differs(run),
                "seed": run.recipe["seed"],
                "fold": run.recipe["fold"],
                "accuracy": 100 * test["accuracy"],
                "low": 100 * test["accuracy_low"],
                "high": 100 * test["accuracy_high"],
                "record": run.name,
            }
        )
    columns = ["twin", "levels", "hardness", "taken", "seed", "fold", "accuracy", "low", "high", "record"]
    order = ["twin", "levels", "hardness", "seed", "fold"]
    return pd.DataFrame(rows, columns=columns).sort_values(order, ignore_index=True)


def standing(table: pd.DataFrame) -> pd.DataFrame:
    """Of a :func:`curve` one row a twin that was run as it is now: ours beside the published band, and how they lie.

    Accuracies are means over seeds and folds, ends of intervals too. ``lands``: ``inside`` the band, ``interval meets
    it``, ``above`` or ``below``.
    """
    rows = []
    for twin, own in table[table["taken"]].groupby("twin", sort=False):
        least, most = band(twin)
        value, low, high = own[["accuracy", "low", "high"]].mean()
        meets = low <= most and high >= least
        lands = (
            "inside" if least <= value <= most else "interval meets it" if meets else "above" if low > most else "below"
        )
        rows.append(
            {"twin": twin, "published from": least, "to": most, "ours": value, "low": low, "high": high, "lands": lands}
        )
    return pd.DataFrame(rows, columns=["twin", "published from", "to", "ours", "low", "high", "lands"])


def taken(twin: str, preset: str = "quick") -> float:
    """The hardness that a twin has now."""
    return hardness_of(twin_designs.parameters(twin, preset).model_dump())


def at_taken(found: list[Record]) -> list[Record]:
    """Of some runs those on twins as they are now: every parameter of the pictures is the one that stands here."""
    return [run for run in found if not _differs(run)]


def _differs(run: Record) -> bool:
    """Whether the twin's parameters have been set otherwise since the run."""
    made = run.data.made["parameters"]
    if not set(made) <= set(Twin.model_fields):
        return True
    # What a parameter that came later stands for by itself is what every twin had before.
    return twin_designs.parameters(run.recipe["dataset"], run.recipe["preset"]) != Twin.model_validate(made)


def by_yaw(found: list[Record]) -> pd.DataFrame:
    """Accuracy with its 95 % interval in per cent, one row a twin and pan; means over seeds and folds."""
    rows = [
        {"twin": run.recipe["dataset"], "yaw": float(subset.removeprefix("pan_"))}
        | {name: 100 * m[key] for name, key in zip(("accuracy", "low", "high"), ENDS, strict=True)}
        for run in found
        for subset, m in run.metrics.items()
        if subset.startswith("pan_")
    ]
    table = pd.DataFrame(rows, columns=["twin", "yaw", "accuracy", "low", "high"])
    return table.groupby(["twin", "yaw"], as_index=False).mean()


def confusions(found: list[Record], most: int = 3) -> pd.DataFrame:
    """The most frequent confusions of each twin: true class, what it is taken for, per cent of the true class."""
    counts: dict[str, Any] = {}
    classes = {run.recipe["dataset"]: run.classes for run in found}
    for run in found:
        name = run.recipe["dataset"]
        counts[name] = counts.get(name, 0) + run.arrays()["confusion_test"]
    rows = []
    for twin, matrix in counts.items():
        share = 100 * matrix / matrix.sum(1, keepdims=True).clip(min=1)
        pairs = [(share[a, b], a, b) for a in range(len(share)) for b in range(len(share)) if a != b]
        for percent, a, b in sorted(pairs, reverse=True)[:most]:
            rows.append({"twin": twin, "shown": classes[twin][a], "taken for": classes[twin][b], "per cent": percent})
    return pd.DataFrame(rows, columns=["twin", "shown", "taken for", "per cent"])
