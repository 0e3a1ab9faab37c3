"""Ablations: one thing changed at a time, each run beside the method's own setting on the same test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from fercore import evaluate, published, records
from fercore.errors import ParameterError, RecordError
from fercore.recipe import Recipe, unknown
from fercore.records import Record
from fercore.training import experiments

ROWS: Mapping[str, Mapping[str, Mapping[str, dict[str, Any]]]] = MappingProxyType(
    {
        "lan": {
            "fusion": {"addition": {}, "concatenation": {"fusion": "concat"}, "averaging": {"fusion": "mean"}},
            "alpha": {
                "0": {"alpha": 0.0},
                "0.25": {"alpha": 0.25},
                "0.5": {},
                "0.75": {"alpha": 0.75},
                "1": {"alpha": 1.0},
            },
            "guidance": {
                "smaller cluster": {},
                "larger cluster": {"attentive": "larger"},
                "weighted by distance": {"guidance": "weighted"},
                "random": {"guidance": "random"},
                "true yaw": {"guidance": "yaw"},
            },
            "clusters": {"2": {}, "3": {"clusters": 3}},
            "clustered": {"once": {}, "every 2 epochs": {"refresh": 2}},
        },
        "pcda": {
            "attention": {
                "none": {"dot": False, "cross": False, "anchor_weight": 0.0},
                "dot": {"cross": False, "anchor_weight": 0.0},
                "cross": {"dot": False, "anchor_weight": 0.0},
                "NeAA": {"dot": False, "cross": False},
                "dot+cross": {"anchor_weight": 0.0},
                "cross+NeAA": {"dot": False},
                "dot+NeAA": {"cross": False},
                "dot+cross+NeAA": {},
            },
            "blocks": {"1 block": {"blocks": 1}, "2 blocks": {}, "4 blocks": {"blocks": 4}},
            "map": {
                "Conv": {"heat": "conv"},
                "Sum+Repeat": {"heat": "sum"},
                "Abs+Sum+Repeat": {"heat": "abs-sum"},
                "Max+Repeat": {},
            },
            "anchor": {
                "neutral apart": {},
                "all classes alike": {"anchor": "plain"},
                "anchors stand still": {"detach": True},
            },
            "lambda": {"0": {"anchor_weight": 0.0}, "0.01": {}, "0.1": {"anchor_weight": 0.1}},
            "landmarks": {
                "frozen": {},
                "trained on": {"frozen": False},
                "never trained": {"landmark_weights": ""},
            },
        },
    }
)
"""Paper -> ablation -> row -> what it changes; the row that changes nothing is the method as it is published."""


PRINTED = {
    ("lan", "fusion"): ("T6", "accuracy"),
    ("pcda", "attention"): ("T1", "RAF-DB"),
    ("pcda", "map"): ("T4", "RAF-DB"),
}
"""Where the paper prints an ablation of these rows, under the same names: table, column."""


def chosen(paper: str, which: str = "all") -> dict[str, Mapping[str, dict[str, Any]]]:
    """The rows of one ablation of a paper, or of ``all``."""
    if which != "all" and which not in ROWS[paper]:
        raise ParameterError(unknown("ablation", which, [*ROWS[paper], "all"]))
    return {name: rows for name, rows in ROWS[paper].items() if which in ("all", name)}


def quoted(paper: str, ablation: str) -> dict[str, float]:
    """Row -> the value that the paper prints for it."""
    place, column = PRINTED[paper, ablation]
    return {row: published.value(paper, place, row, column) for row in ROWS[paper][ablation]}


def run(paper: str, which: str, preset: str, dataset: str, **common: Any) -> dict[str, dict[str, Record]]:
    """Run every row of one ablation, or of ``all``: ablation -> row -> record; what has a record is not run again."""
    recipe = experiments.paper(paper).recipe
    return {
        name: {row: experiments.run(recipe(preset, dataset, **changes, **common)) for row, changes in rows.items()}
        for name, rows in chosen(paper, which).items()
    }


def recipes(paper: str, preset: str = "quick", dataset: str = "kdef-twin", **common: Any) -> Iterator[Recipe]:
    """Every run of a paper's ablations once, the method's own setting first; ``common`` (seed, fold) goes to all."""
    module, seen = experiments.paper(paper), set()
    for rows in ROWS[paper].values():
        for changes in sorted(rows.values(), key=bool):
            recipe = module.recipe(preset, dataset, **changes, **common)
            if recipe.key() not in seen:
                seen.add(recipe.key())
                yield recipe


def runs(
    paper: str, preset: str = "quick", dataset: str = "kdef-twin", root: Path | None = None, **common: Any
) -> dict[str, dict[str, Record]]:
    """The records of a paper's ablations, committed or under ``root``: ablation -> row -> record; rows that have one.

    Only those whose recipe is the row's in every field count.
    """
    module = experiments.paper(paper)
    there = {recipe_key(record.recipe): record for record in records.find(root, paper=paper, preset=preset)}
    found: dict[str, dict[str, Record]] = {}
    for name, rows in ROWS[paper].items():
        keys = {row: recipe_key(module.recipe(preset, dataset, **c, **common).model_dump()) for row, c in rows.items()}
        found[name] = {row: there[key] for row, key in keys.items() if key in there}
    return found


def recipe_key(recipe: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """A recipe as something that can be compared: names and values in order."""
    return tuple(sorted((name, repr(value)) for name, value in recipe.items()))


def table(found: Mapping[str, Mapping[str, Record]], paper: str, subset: str = "test") -> pd.DataFrame:
    """One line a row: accuracy in per cent, its difference from the published setting in points, and McNemar's test.

    The interval of a difference is a paired bootstrap, over subjects where they
    are known. p-values are Holm's, over all rows of all ablations (each run
    counts once), because many are compared.
    """
    lines, p = [], {}
    for ablation, rows in found.items():
        own = next((row for row, changes in ROWS[paper][ablation].items() if not changes), "")
        if own not in rows:
            raise RecordError(f"No record of the published setting ({ablation}: {own}).", do="run it, or commit it")
        for row, record in rows.items():
            line: dict[str, Any] = {"ablation": ablation, "row": row, "record": record.name}
            line["accuracy"] = 100 * record.metrics[subset]["accuracy"]
            if record.name != rows[own].name:
                before, after, subjects = records.paired(rows[own], record, subset)
                change = evaluate.paired_bootstrap(after, before, subjects)
                p[record.name] = evaluate.mcnemar(before, after).p
                line |= {"difference": 100 * change.value, "low": 100 * change.low, "high": 100 * change.high}
            lines.append(line)
    corrected = evaluate.holm(p)
    columns = ["ablation", "row", "accuracy", "difference", "low", "high", "p (Holm)", "record"]
    return pd.DataFrame([line | {"p (Holm)": corrected.get(line["record"])} for line in lines], columns=columns)


def over_seeds(paper: str, preset: str = "quick", dataset: str = "ferplus", root: Path | None = None) -> pd.DataFrame:
    """One line a row over the seeds that have it: mean accuracy in per cent and mean difference from the published
    setting of the same seed in points, each with its 95 % t interval over seeds; NaN where one seed alone has it.

    Columns ablation, row, seeds, accuracy, difference, low, high, wins: in how many seeds the row is better than the
    published setting. Raises RecordError where no seed has the published setting.
    """
    seeds = sorted({r.recipe["seed"] for r in records.find(root, paper=paper, preset=preset, dataset=dataset)})
    found = {seed: runs(paper, preset, dataset, root, seed=seed) for seed in seeds}
    lines = []
    for ablation, changes in ROWS[paper].items():
        own = next(row for row, changed in changes.items() if not changed)
        whole = [seed for seed in seeds if own in found[seed][ablation]]
        if not whole:
            raise RecordError(f"No record of the published setting ({ablation}: {own}).", do="run it, or commit it")
        for row in changes:
            here = [seed for seed in whole if row in found[seed][ablation]]
            if not here:
                continue
            values = {name: [100 * _accuracy(found[seed][ablation][name]) for seed in here] for name in (row, own)}
            line = {"ablation": ablation, "row": row, "seeds": len(here), "accuracy": float(np.mean(values[row]))}
            if row != own:
                by = np.subtract(values[row], values[own]).tolist()
                value, low, high = evaluate.over_seeds(by) if len(by) > 1 else (*by, nan, nan)
                line |= {"difference": value, "low": low, "high": high, "wins": sum(change > 0 for change in by)}
            lines.append(line)
    columns = ["ablation", "row", "seeds", "accuracy", "difference", "low", "high", "wins"]
    return pd.DataFrame(lines, columns=columns)


def said(lines: pd.DataFrame, row: str) -> str:
    """What a row changes, in words: ``+0.15 points [-0.30, +0.60]``; lines: :func:`table` or :func:`over_seeds`."""
    changed = lines[lines["difference"].notna()]
    if row not in set(changed["row"]):
        raise ParameterError(unknown("row that changes something", row, changed["row"]))
    own = next(changed[changed["row"] == row].itertuples())
    return f"{own.difference:+.2f} points [{own.low:+.2f}, {own.high:+.2f}]"


def _accuracy(record: Record) -> float:
    return record.metrics["test"]["accuracy"]
