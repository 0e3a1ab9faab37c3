"""Figures of the audit: tables of checks in, axes out; the look is that of `fercore.figures`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fercore import published
from fercore.figures import told

FITS, FINDING = "#9ca3af", "#c2410c"
PAPERS = {name: published.ABOUT[paper]["colour"] for paper, name in published.PAPERS.items()}
"""One colour a paper."""


def checks_by_kind(table: pd.DataFrame) -> Axes:
    """Bars of checks by kind, the findings in colour. ``table``: kind, checks, findings."""
    _, axes = plt.subplots(figsize=(7, 0.34 * len(table) + 0.9))
    places = np.arange(len(table))
    axes.barh(places, table["checks"] - table["findings"], left=table["findings"], color=FITS, label="fits")
    axes.barh(places, table["findings"], color=FINDING, label="does not fit")
    for y, (checks, found) in zip(places, table[["checks", "findings"]].to_numpy(), strict=True):
        axes.annotate(f"{found} of {checks}", (checks, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, table["kind"])
    axes.invert_yaxis()
    axes.set(xlabel="checks", xlim=(0, 1.18 * table["checks"].max()))
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", frameon=False)
    return told(axes, table)


def pairs(table: pd.DataFrame) -> Axes:
    """One method's number as two papers print it, one line each. ``table``: label, value, paper, other value, paper."""
    rows = list(table.itertuples(index=False))
    _, axes = plt.subplots(figsize=(7, 0.42 * len(rows) + 1.0))
    for y, (_, one, first, other, second) in enumerate(rows):
        axes.plot([one, other], [y, y], color="#d1d5db", linewidth=3, zorder=1)
        for value, source in ((one, first), (other, second)):
            axes.scatter(value, y, s=55, color=PAPERS[source], zorder=2)
        for value, side in ((min(one, other), -1), (max(one, other), 1)):
            axes.annotate(
                f"{value:g}", (value, y), (9 * side, 0), textcoords="offset points", fontsize=8, va="center",
                ha="left" if side > 0 else "right",
            )  # fmt: skip
    sources = dict.fromkeys(name for row in rows for name in (row[2], row[4]))
    for name in sources:
        axes.scatter([], [], s=55, color=PAPERS[name], label=f"printed in {name}")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("accuracy in per cent")
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return told(axes, table)
