"""Sums: averages of rows and columns, differences and repetitions in prose, stated counts and what they follow from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, cell_at, class_sizes, half_unit, kdef_cell_size, possible

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


SHIFTED = "the three cells that differ hold Table 3's numbers of sadness, surprise and neutral, in that order"
REMARKS = {("dmlnet", "T4", "DML-Net", name): SHIFTED for name in ("neutral", "sadness", "surprise")}
"""What can be seen of a repetition that does not fit: (paper, place, row, column) -> remark."""


def derived() -> Iterator[Check]:
    """Numbers that a paper derives from its own cells, or prints twice (``derived.csv``)."""
    for line in published.read("derived").itertuples():
        place = line.table or line.figure
        printed = published.cell(line.paper, place, line.row, line.column, line.dataset or None)["printed"]
        one, two = (cell_at(line.paper, text, line.dataset) if text else None for text in (line.first, line.second))
        value, slack = float(one["value"]), half_unit(printed) + half_unit(one["printed"])
        if two is not None:
            value -= float(two["value"])
            slack += half_unit(two["printed"])
        if line.kind == "relative":
            value, slack = 100 * value / float(one["value"]), half_unit(printed) + 100 / float(one["value"])
        if line.kind == "ratio":
            value = float(one["value"]) / float(two["value"])
            slack = half_unit(printed) + (half_unit(one["printed"]) + value * half_unit(two["printed"])) / two["value"]
        if line.kind == "share":
            value, slack = value / 100, half_unit(printed) + half_unit(one["printed"]) / 100
        if line.kind in ("same", "backbone"):
            slack = max(half_unit(printed), half_unit(one["printed"]))
        joined = " / " if line.kind == "ratio" else " − "
        source = joined.join(text.replace("|", ", ") for text in (line.first, line.second) if text)
        remark = REMARKS.get((line.paper, place, line.row, line.column), "")
        remark = "the same backbone without attention" if line.kind == "backbone" else remark
        kind = "difference" if line.second else "repetition"
        of = "" if line.dataset in line.column else f" of {line.dataset}"
        what = f"{line.row}, {line.column}{of}: {source}"
        yield Check(
            line.paper, place, kind, what, printed, f"{value:.4g}", abs(value - float(printed)) <= slack, remark
        )


# -------------------------------------------------------------------- totals


def totals() -> Iterator[Check]:
    """Stated counts against the product, sum or limit that follows from others (``totals.csv``)."""
    for line in published.read("totals").itertuples():
        printed, computed = (_arithmetic(line.paper, text) for text in (line.printed, line.computed))
        slack = float(line.rule.removeprefix("to ")) if line.rule.startswith("to ") else 1e-6
        fits = printed <= computed if line.rule == "at most" else abs(printed - computed) <= slack
        texts = (f"{value:,.2f}".rstrip("0").removesuffix(".") for value in (printed, computed))
        yield Check(
            line.paper, line.table or line.figure, "total", line.what, *texts, fits, "" if fits else line.remark
        )
    known, whole = class_sizes("RAF-DB"), 3068
    recalls = published.load("pcda", "T6").query("dataset == 'RAF-DB' and column in @known")
    for method, rows in recalls.groupby("row"):
        pairs = zip(rows["printed"], rows["column"], strict=True)
        right = sum(possible(text, known[name]) or round(float(text) * known[name] / 100) for text, name in pairs)
        printed = published.cell("pcda", "T5", method, "RAF-DB")["printed"]
        what = f"RAF-DB, {method}: accuracy against the recalls of its classes"
        fits, remark = possible(printed, whole) == right, f"the recalls count {right:,} of {whole:,} images"
        yield Check("pcda", "T6", "total", what, printed, f"{100 * right / whole:.2f}", fits, remark)


def _arithmetic(paper: str, expression: str) -> float:
    """Sums and products of numbers and of ``{row|column|data set}`` counts; ``{T8:...}`` is a cell of that table."""

    def cell(match: re.Match[str]) -> str:
        place, _, text = match[1].rpartition(":")
        row, column, dataset = text.split("|")
        return repr(published.value(paper, place or "text", row, column, dataset or None))

    return float(pd.eval(re.sub(r"\{(.*?)\}", cell, expression)))
