"""Ablations: one thing changed at a time, each run beside the method's own setting on the same test images.

Which rows there are, and where the paper prints them, is said in the paper's toml file (`fercore.published.ablations`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from fercore import intervals, papers, published
from fercore.errors import ParameterError, RecordError
from fercore.ledger.found import matching, paired, stale
from fercore.recipe import unknown
from fercore.records import Record
from fercore.training import experiments

Found = Mapping[str, Mapping[str, list[Record]]]
"""Ablation -> row -> its runs, by seed and fold."""


def chosen(paper: str, which: str = "all") -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of one ablation of a paper, or of ``all``: ablation -> row -> what it changes."""
    rows = published.ablations(paper)
    if which != "all" and which not in rows:
        raise ParameterError(unknown("ablation", which, [*rows, "all"]))
    return {name: own for name, own in rows.items() if which in ("all", name)}


def run(paper: str, which: str, preset: str, dataset: str, **common: Any) -> Found:
    """Run every row of one ablation, or of ``all``; what has a record is not run again."""
    recipe = papers.module(paper).recipe
    return {
        name: {row: [experiments.run(recipe(preset, dataset, **changes, **common))] for row, changes in rows.items()}
        for name, rows in chosen(paper, which).items()
    }


def runs(
    paper: str, preset: str = "quick", dataset: str = "kdef-twin", root: Path | None = None, **common: Any
) -> Found:
    """The records of a paper's ablations, committed or under ``root``, of rows that have one, whatever seed and fold.

    Only those whose recipe is the row's in every other field count. ``common``: changes that all rows have.
    """
    recipe = papers.module(paper).recipe
    every = {
        name: {row: matching(recipe(preset, dataset, **changes, **common), root) for row, changes in rows.items()}
        for name, rows in chosen(paper).items()
    }
    return {name: {row: own for row, own in rows.items() if own} for name, rows in every.items()}


def table(found: Found, paper: str, subset: str = "test") -> pd.DataFrame:
    """One line a row: accuracy in per cent, and its difference from the full method of the same seeds and folds.

    Columns ablation, row, seeds, folds, accuracy, then of the difference in points: difference, low, high (95 %, see
    :mod:`fercore.intervals`), ``wins``, in how many pairs of runs the row is better, and p after Holm's correction over
    all rows of all ablations (each kind of run counts once), because many are compared. ``state``: whether
    older code has trained the row, or one of the two saw pictures that another machine or renderer made.
    """
    lines, p = [], {}
    for ablation, rows in found.items():
        own = next((row for row, changes in published.ablations(paper)[ablation].items() if not changes), "")
        if rows and own not in rows:
            raise RecordError(f"No record of the full method ({ablation}: {own}).", do="run it, or commit it")
        for row, every in rows.items():
            mine, theirs = paired(every, rows[own])
            if row == own:  # shown over the seeds and folds of the rows that are held against it
                mine = paired(every, [run for name in rows if name != own for run in rows[name]])[0] or mine
            if not mine:
                continue
            line: dict[str, Any] = {"ablation": ablation, "row": row, "record": mine[0].name}
            line |= {f"{name}s": len({run.recipe[name] for run in mine}) for name in ("seed", "fold")}
            line["accuracy"] = 100 * intervals.estimate(mine, subset=subset).value
            if row != own:
                change = intervals.estimate(mine, subset=subset, against=theirs)
                p[line["record"]] = change.p
                line |= {name: 100 * end for name, end in zip(COLUMNS[5:8], change.interval, strict=True)}
                numbers = [[run.metrics[subset]["accuracy"] for run in own] for own in (mine, theirs)]
                line["wins"] = f"{sum(a > b for a, b in zip(*numbers, strict=True))} of {len(mine)}"
            drawn = {run.data.hash for run in (mine if row == own else [*mine, *theirs])}
            line["state"] = "stale" if any(map(stale, mine)) else "other images" if len(drawn) > 1 else ""
            lines.append(line)
    corrected = intervals.holm(p)
    table = pd.DataFrame([line | {"p (Holm)": corrected.get(line["record"], nan)} for line in lines])
    return table.reindex(columns=COLUMNS).fillna({"wins": ""})


COLUMNS = ["ablation", "row", "seeds", "folds", "accuracy", "difference", "low", "high", "wins", "p (Holm)", "state"]


def not_run(found: Found, paper: str) -> str:
    """The rows of a paper's ablations that have no run, in words: ``Conv (map), 0.1 (lambda)``; ``none``."""
    rows = ((name, row) for name, own in published.ablations(paper).items() for row in own)
    return ", ".join(f"{row} ({name})" for name, row in rows if not found.get(name, {}).get(row)) or "none"


def in_words(lines: pd.DataFrame, row: str) -> str:
    """What a row changes: ``+0.15 points (−0.30 to +0.60)``; lines: :func:`table`."""
    changed = lines[lines["difference"].notna()]
    if row not in set(changed["row"]):
        raise ParameterError(unknown("row that changes something", row, changed["row"]))
    own = next(changed[changed["row"] == row].itertuples())
    value, low, high = map(intervals.signed, (own.difference, own.low, own.high))
    return f"{value} points ({low} to {high})"
