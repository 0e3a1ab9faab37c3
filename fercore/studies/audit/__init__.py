"""The papers' numbers held against each other: averages, differences, totals, counts, confusion matrices, quotations.

Every check reads :mod:`fercore.published` alone. A check passes when the printed number can come from the numbers it
depends on, with each of them rounded as printed; one that does not pass is a finding. Findings say what does not fit,
not who is right: misprints, other splits and averages over runs explain most.
"""

from __future__ import annotations

import itertools
from functools import cache

import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, amount, class_sizes, decimals, half_unit, possible, sizes
from fercore.studies.audit.images import cell_counts, granularity, matrices, others_recalls
from fercore.studies.audit.said import orders, quotations, quoted, subsets
from fercore.studies.audit.sums import averages, derived, totals

__all__ = ["Check", "amount", "class_sizes", "decimals", "half_unit", "possible", "quotations", "sizes"]
"""What is said elsewhere in this package and asked for here."""

GENERATORS = (averages, derived, totals, granularity, cell_counts, others_recalls, matrices, quoted, orders, subsets)


@cache
def checks() -> pd.DataFrame:
    """Every check, a row each: paper, place, kind, what, printed, computed, fits, remark. Computed once."""
    made = [check for generator in GENERATORS for check in generator()]
    return pd.DataFrame(made, columns=list(Check._fields))


def findings() -> pd.DataFrame:
    """The checks that do not fit, in the papers' order."""
    table = checks()
    table = table[~table["fits"]].drop(columns="fits")
    order = {paper: k for k, paper in enumerate(published.PAPERS)}
    return table.sort_values(["paper", "kind"], key=lambda c: c.map(order) if c.name == "paper" else c, kind="stable")


def summary() -> pd.DataFrame:
    """Checks by kind: how many, and how many do not fit."""
    grouped = checks().groupby("kind", sort=False)["fits"]
    return pd.DataFrame({"checks": grouped.size(), "findings": grouped.size() - grouped.sum()}).reset_index()


def implied_cells() -> pd.DataFrame:
    """Where a row's and a column's average both fail: their common cell, printed and as each average asks for it."""
    broken = checks().query("kind == 'average' and not fits")
    lines = []
    for (paper, table), group in broken.groupby(["paper", "place"], sort=False):
        names = [[w.removeprefix(along) for w in group["what"] if w.startswith(along)] for along in ("row ", "column ")]
        for row, column in itertools.product(*names):
            cells = published.load(paper, table).pivot(index="row", columns="column", values="value")
            asked = [
                line["Average"] * (len(line) - 1) - line.drop(["Average", name]).sum()
                for line, name in ((cells.loc[row], column), (cells[column], row))
            ]
            lines.append((paper, table, row, column, cells.loc[row, column], *asked))
    names = ["paper", "table", "row", "column", "printed", "asked for by the row", "asked for by the column"]
    return pd.DataFrame(lines, columns=names).round(2)


def words() -> pd.DataFrame:
    """Contradictions and omissions that no number shows (``words.csv``), each with the reason why it is no check."""
    table = published.read("words")
    place = table["table"] + table["figure"]
    return table.drop(columns=["table", "figure"]).assign(paper=table["paper"].map(published.PAPERS), place=place)[
        ["paper", "place", "what", "one place", "another", "why no check"]
    ]


POSTER = (71_850_399, 7_856_965_632)
"""Parameters and multiply-adds an image of POSTER, large, seven classes: its authors' published code (commit ba2e3e98
of its repository), counted with the tool that counts this book's networks; `tests/bench/bench_pcda.py --poster` counts
again.
"""


def convention_of(printed: float, multiply_adds: float) -> str:
    """Whether printed operations are nearer to the multiply-adds, or to twice as many (both in the same unit)."""
    return "multiply-adds" if abs(printed - multiply_adds) <= abs(printed - 2 * multiply_adds) else "two a multiply-add"


MODULES = {"image backbone": "image", "landmark backbone": "landmark", "cross attention module": "attention"}
"""Rows of PCDA's Table 8, and the parts of the network that they are."""
