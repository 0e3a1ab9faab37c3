"""Sums: averages of rows and columns, differences and repetitions, stated counts and what they follow from, claims."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, amount, class_sizes, half_unit, kdef_cell_size, shown

# ------------------------------------------------------------------ averages


def averages() -> Iterator[Check]:
    """Each printed average against the plain mean of its row or column; where that fails, the mean over images."""
    cells = published.load()
    cells = cells[cells["metric"].isin(("accuracy", "recall", "mean of recalls"))]
    for along, across in (("row", "column"), ("column", "row")):
        of = cells[cells["table"].isin(cells.loc[cells[across] == "Average", "table"].unique())]
        for (paper, table, name, dataset), line in of.groupby(["paper", "table", along, "dataset"], sort=False):
            mean, parts = line[line[across] == "Average"], line[line[across] != "Average"]
            if len(mean) != 1 or len(parts) < 3 or parts["value"].isna().any():
                continue
            several = of.loc[(of["paper"] == paper) & (of["table"] == table), "dataset"].nunique() > 1
            what = f"{along} {name}{f', {dataset}' if several else ''}"
            yield _average(paper, table, what, dataset, mean.iloc[0]["printed"], parts.set_index(across))


def _average(paper: str, table: str, what: str, dataset: str, printed: str, parts: pd.DataFrame) -> Check:
    plain = float(parts["value"].mean())
    whole = ~parts["printed"].str.contains(".", regex=False)  # 0, 90 and 100 are printed short, not rounded
    slack = half_unit(printed) + float(parts["printed"].map(half_unit).where(~whole, 0).mean())
    fits, remark = abs(plain - float(printed)) <= slack, ""
    known = class_sizes(dataset)
    if dataset == "KDEF":
        known = {name: n for name, text in parts["printed"].items() if (n := kdef_cell_size(text)) >= 27}
    if not fits and set(parts.index) <= set(known):
        weighted = float(np.average(parts["value"], weights=[known[name] for name in parts.index]))
        remark = f"over images: {weighted:.2f}"
        fits = abs(weighted - float(printed)) <= slack
    return Check(paper, table, "average", what, printed, f"{plain:.2f}", bool(fits), remark)


# ------------------------------------------------------- differences, repetitions


FORMULAS = {
    **{"same": "{0}", "share": "{0} / 100", "difference": "{0} - {1}", "ratio": "{0} / {1}"},
    "relative": "100 * ({0} - {1}) / {0}",
}
"""What a number that a paper derives is made of: kind -> formula of its sources."""


def derived() -> Iterator[Check]:
    """Numbers that a paper derives from its own cells, or prints twice (``derived.csv``)."""
    for line in published.read("derived").itertuples():
        place = line.table or line.figure
        printed = published.cell(line.paper, place, line.row, line.column, line.dataset or None)["printed"]
        sources = ["{" + text.replace("|", ":", 1) + f"|{line.dataset}" + "}" for text in (line.first, line.second)]
        value, slack = amount(line.paper, FORMULAS[line.kind].format(*sources))
        room = max(half_unit(printed), slack) if line.kind == "same" else half_unit(printed) + slack
        fits = abs(value - float(printed)) <= room
        source = (" / " if line.kind == "ratio" else " − ").join(
            text.replace("|", ", ") for text in (line.first, line.second) if text
        )
        what = f"{line.row}, {line.column}{'' if line.dataset in line.column else f' of {line.dataset}'}: {source}"
        kind, remark = "difference" if line.second else "repetition", "" if fits else line.remark
        yield Check(line.paper, place, kind, what, printed, f"{value:.4g}", fits, remark)


# ------------------------------------------------------------ totals, claims


def totals() -> Iterator[Check]:
    """Stated numbers against the product, sum or limit that follows from others, and what is claimed of two numbers.

    ``totals.csv``: two formulas (:func:`~fercore.studies.audit.basis.amount`), and how they must compare.
    """
    for line in published.read("totals").itertuples():
        printed, computed = (amount(line.paper, text) for text in (line.printed, line.computed))
        gap = printed.value - computed.value
        above = {"equal": abs(gap), "at most": gap, "at least": -gap}[line.rule]
        fits = above <= printed.slack + computed.slack + 1e-6
        texts = (shown(printed), f"{computed.value:,.2f}".rstrip("0").removesuffix("."))
        remark = "" if fits else line.remark
        yield Check(line.paper, line.table or line.figure, line.kind, line.what, *texts, fits, remark)
