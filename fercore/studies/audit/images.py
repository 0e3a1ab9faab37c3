"""Counts of images: percentages that some whole number of them must give, and confusion matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil, floor
from typing import Any

import pandas as pd

from fercore import published
from fercore.data.labels import EXPRESSIONS
from fercore.studies.audit.basis import Check, decimals, half_unit, kdef_cell_size, possible, sizes

CLASSES = {*EXPRESSIONS, "smile", "squint", "scream"}
"""Every expression by the name that the published tables have here."""
OWN = {
    ("phanet", "Huang et al. 2017"), ("phanet", "Parkhi et al. 2015"), ("dmlnet", "He et al. 2016"),
}  # fmt: skip
"""Plain backbones: the work cited is the network's, which has no such data; the number is of the paper's own run."""


def granularity() -> Iterator[Check]:
    """Percentages against the size of their test set: some whole number of images must be printed as this number.

    Only where the step of one image is larger than the last printed digit, and
    only a paper's own measurements (:data:`OWN` counts as such). The first size is
    the one that the paper states. A number that was cut off instead of rounded passes with a remark.
    """
    cells = pd.concat([published.load(), published.in_figures().rename(columns={"figure": "table"})])
    own = (cells["cited"] == "") | cells[["paper", "cited"]].apply(tuple, axis=1).isin(OWN)
    measured = cells["metric"].isin(("accuracy", "recall", "pose accuracy", "confusion")) & (cells["unit"] == "%")
    cells = cells[own & measured]
    seen = set()
    for cell in cells[cells["value"].notna()].itertuples():
        known = _sizes(cell)
        again = (cell.paper, cell.dataset, cell.printed, *known.items())  # printed in two places, checked once
        if again in seen or not known or 100 / min(known.values()) <= 10.0 ** -decimals(cell.printed):
            continue
        seen.add(again)
        (name, stated), *others = known.items()
        near = [100 * f(cell.value * stated / 100) / stated for f in (floor, ceil)]
        cut = floor(near[1] * 10 ** decimals(cell.printed) + 1e-6) == round(cell.value * 10 ** decimals(cell.printed))
        found = possible(cell.printed, stated) is not None
        better = [f"{n:,} ({what})" for what, n in others if possible(cell.printed, n) is not None]
        remark = "none of the known sizes gives it" if others else ""
        remark = f"{' and '.join(better)} would give it" if better else "cut off, not rounded" if cut else remark
        remark = "" if found else remark
        what = f"{cell.row}, {cell.column}, {cell.dataset}: {stated:,} images ({name})"
        nearest = " or ".join(f"{value:.3f}" for value in near)
        yield Check(cell.paper, cell.table, "granularity", what, cell.printed, nearest, found or cut, remark)


def _sizes(cell: Any) -> dict[str, int]:
    """Candidate numbers of images behind one cell: of its part of the table, its class, its split; empty if unknown."""
    pans = {name for name in (cell.row, cell.column) if re.fullmatch(r"-?\d+", name)}
    names = [name for name in (cell.row, cell.column) if name in pans | CLASSES]
    part = ", ".join("pan" if name in pans else "class" for name in names)
    known = sizes(cell.dataset, part, f"{cell.paper} {cell.table}")
    if known or cell.metric == "recall":
        return known or sizes(cell.dataset, cell.column) or sizes(cell.dataset, cell.row)
    return sizes(cell.dataset, cell.protocol) or sizes(cell.dataset, cell.column)


def cell_counts() -> Iterator[Check]:
    """KDEF, 14 test subjects: each cell is a share of at most 28 images. Do the cells allow the stated 979?"""
    what = "KDEF: test images against the largest sum of cells"
    for paper, table in (("phanet", "T4"), ("dmlnet", "T3")):
        cells = published.load(paper, table).query("metric == 'recall'")
        counts = [kdef_cell_size(text) for text in cells["printed"] if text]
        stated = int(published.value(paper, "text", "test", "images", "KDEF"))
        whole = sum(counts) + 28 * int((cells["printed"] == "").sum())
        remark = f"{sum(n < 28 for n in counts)} of {len(counts)} cells are no share of 28"
        yield Check(paper, table, "cell sizes", what, str(stated), f"at most {whole}", whole >= stated, remark)


def others_recalls() -> Iterator[Check]:
    """Recalls that a paper quotes: how many are shares of the test images that the class has in the official split?"""
    cells = published.load().query("metric == 'recall' and cited != '' and value.notna()")
    for (paper, table, method, dataset), line in cells.groupby(["paper", "table", "row", "dataset"], sort=False):
        counts = pd.DataFrame([sizes(dataset, name) for name in line["column"]])
        if counts.empty or counts.isna().any(axis=None):
            continue
        fitting = {
            what: sum(possible(text, n) is not None for text, n in zip(line["printed"], images, strict=True))
            for what, images in counts.items()
        }
        (_, found), *others = fitting.items()
        remark = "; ".join(f"{more} are shares of {what}" for what, more in others if more > len(line) / 2)
        what = f"{method}, {dataset}: recalls that are shares of the class's test images"
        yield Check(paper, table, "cell sizes", what, str(len(line)), str(found), found == len(line), remark)


# ---------------------------------------------------------- confusion matrices


def matrices() -> Iterator[Check]:
    """Rows of printed confusion matrices must sum to one."""
    cells = published.in_figures().query("metric == 'confusion' and unit == 'share'")
    for (paper, figure, name), row in cells.groupby(["paper", "figure", "row"], sort=False):
        if row["value"].notna().all():
            total, slack = row["value"].sum(), len(row) * min(map(half_unit, row["printed"]))
            fits = bool(abs(total - 1) <= slack)
            yield Check(paper, figure, "matrix", f"row {name} sums to 1", "1", f"{total:.3f}", fits)
