"""Counts of images: percentages that some whole number of them must give, and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Any

import numpy as np
import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, class_sizes, decimals, half_unit, kdef_cell_size, possible, sizes

# --------------------------------------------------------------- granularity


OWN = {("phanet", "Huang et al. 2017"), ("phanet", "Parkhi et al. 2015"), ("dmlnet", "He et al. 2016")}
"""Plain backbones: the work cited is the network's, which has no such data; the number is of the paper's own run."""


def granularity() -> Iterator[Check]:
    """Percentages against the size of their test set: some whole number of images must be printed as this number.

    Only where the step of one image is larger than the last printed digit, and
    only a paper's own measurements (:data:`OWN` counts as such). The first size is
    the one that the paper states. A number that was cut off instead of rounded passes with a remark.
    """
    cells = pd.concat([published.load(), published.in_figures().rename(columns={"figure": "table"})])
    own = (cells["cited"] == "") | cells[["paper", "cited"]].apply(tuple, axis=1).isin(OWN)
    cells = cells[own & (cells["unit"] == "%") & cells["metric"].isin(("accuracy", "recall", "pose accuracy"))]
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
        what = f"{cell.row}, {cell.column}, {cell.dataset}: {stated:,} images ({name})"
        computed = " or ".join(f"{value:.3f}" for value in near)
        yield Check(
            cell.paper, cell.table, "granularity", what, cell.printed, computed, found or cut, "" if found else remark
        )


def _sizes(cell: Any) -> dict[str, int]:
    """Candidate numbers of images behind one cell; empty where none is known."""
    if one := {("pata", "T4"): (29, 6, 7), ("pata", "T5"): (80, 6, 5)}.get((cell.paper, cell.table)):
        images, classes, poses = one
        n = images * (classes if cell.column == "Average" else 1) * (poses if cell.row == "Average" else 1)
        return {"from the stated design": n}
    if cell.metric == "recall":
        whole = {"class": 500} if cell.dataset == "AffectNet" else {}
        return sizes(cell.dataset, cell.column) or whole
    if (cell.paper, cell.table) == ("dmlnet", "T6") and cell.column != "Average":
        return {"660 / 5 poses": 132}
    if (cell.paper, cell.table) == ("phanet", "T3") and cell.column != "Average":
        return {"1,840 / 5 poses": 368, "60 subjects x 6": 360}
    return sizes(cell.dataset, cell.protocol) or sizes(cell.dataset, cell.column)


def cell_counts() -> Iterator[Check]:
    """KDEF, 14 test subjects: each cell is a share of at most 28 images. Do the cells allow the stated 979?"""
    for paper, table in (("phanet", "T4"), ("dmlnet", "T3")):
        cells = published.load(paper, table).query("metric == 'recall'")
        sizes = [kdef_cell_size(text) for text in cells["printed"] if text]
        missing = 28 * int((cells["printed"] == "").sum())
        stated = int(published.value(paper, "text", "test", "images", "KDEF"))
        whole = sum(sizes) + missing
        remark = f"{sum(n < 28 for n in sizes)} of {len(sizes)} cells are no share of 28"
        yield Check(
            paper,
            table,
            "cell sizes",
            "KDEF: test images against the largest sum of cells",
            str(stated),
            f"at most {whole}",
            whole >= stated,
            remark,
        )


# ---------------------------------------------------------- confusion matrices


def matrices() -> Iterator[Check]:
    """Rows of printed confusion matrices must sum to one; their diagonal must give the printed accuracy."""
    cells = published.in_figures().query("metric == 'confusion' and unit == 'share'")
    for (paper, figure), matrix in cells.groupby(["paper", "figure"], sort=False):
        size = matrix["column"].nunique()
        for name, row in matrix.groupby("row", sort=False):
            if row["value"].notna().all():
                total, slack = row["value"].sum(), size * min(map(half_unit, row["printed"]))
                yield Check(
                    paper, figure, "matrix", f"row {name} sums to 1", "1", f"{total:.3f}", abs(total - 1) <= slack
                )
    for paper, figure, place, row, column, weighted in (
        ("dmlnet", "F8a", "T6", "DML-Net", "Average", None),
        ("dmlnet", "F9a", "T7", "DML-Net", "Average", "SFEW"),
        ("dmlnet", "F8b", "F8", "DML-Net", "pose", None),
        ("phanet", "F7a", "T7", "PhaNet", "FER", None),
    ):
        own = published.in_figures(paper, figure)
        diagonal = own[own["row"] == own["column"]].set_index("row")["value"]
        weights = [class_sizes(weighted)[name] for name in diagonal.index] if weighted else None
        mean, printed = (
            100 * np.average(diagonal, weights=weights),
            published.cell(paper, place, row, column)["printed"],
        )
        what = f"mean of the diagonal{', over images,' if weighted else ''} against {place}"
        yield Check(
            paper,
            figure,
            "matrix",
            what,
            printed,
            f"{mean:.2f}",
            abs(mean - float(printed)) <= 0.05 + half_unit(printed),
        )
    yield from _prose_of_matrices()
    yield _pose_matrix_of_sfew()


def row_sizes(rows: list[list[float]], total: int) -> list[tuple[int, ...]]:
    """All ways in which rows of printed shares, three digits each, can be counts that sum to ``total`` images.

    >>> row_sizes([[0.333, 0.667], [0.25, 0.75]], 7)
    [(3, 4)]
    """
    fitting = [[n for n in range(1, total + 1) if _counts(row, n) is not None] for row in rows]
    ways: list[tuple[int, ...]] = [()]
    for k, possible_sizes in enumerate(fitting):
        left = total - sum(min(later, default=total + 1) for later in fitting[k + 1 :])
        ways = [(*way, n) for way in ways for n in possible_sizes if sum(way) + n <= left]
    return [way for way in ways if sum(way) == total]


def _counts(row: list[float], images: int) -> list[int] | None:
    """The whole numbers behind a row of shares, or None where no whole numbers are printed as these shares."""
    counts = [round(share * images) for share in row]
    close = all(abs(k / images - share) <= 0.0005 + 1e-9 for k, share in zip(counts, row, strict=True))
    return counts if close and sum(counts) == images else None


def _pose_matrix_of_sfew() -> Check:
    """DML-Net Fig. 9b: the row that does not sum to one, closed on its diagonal, and the 436 images behind it all."""
    cells = published.in_figures("dmlnet", "F9b").pivot(index="row", columns="column", values="value")
    cells = cells.loc[cells.columns]
    closed = cells.copy()
    for name in cells.index[(cells.sum(axis=1) - 1).abs() > 0.01]:
        closed.loc[name, name] = 1 - cells.loc[name].drop(name).sum()
    ways = row_sizes([[share for share in row if share > 0] for row in closed.to_numpy().tolist()], 436)
    mean = 100 * float(np.average(np.diag(cells), weights=ways[0]))
    right = sum(round(n * share) for n, share in zip(ways[0], np.diag(closed), strict=True))
    printed = published.cell("dmlnet", "F9", "DML-Net", "pose")["printed"]
    remark = (
        f"{100 * right / 436:.2f} with the row of -40 closed; {len(ways)} set of row sizes gives these shares and 436"
    )
    fits, what = abs(mean - float(printed)) <= half_unit(printed), "pose accuracy against the diagonal, over images"
    return Check("dmlnet", "F9b", "matrix", what, printed, f"{mean:.2f}", fits, "" if fits else remark)


def _prose_of_matrices() -> Iterator[Check]:
    """PATA: the share of a class taken for one other class can't exceed all that is wrong in the class."""
    for figure, table in (("F4a", "T4"), ("F4b", "T5")):
        for cell in published.in_figures("pata", figure).query("metric == 'confusion'").itertuples():
            wrong, other = (100 - published.value("pata", table, "Average", name) for name in (cell.row, cell.column))
            remark = f"{cell.column} has {other:.2f} wrong: the two may be exchanged" if cell.value > wrong else ""
            what = f"{cell.row} taken for {cell.column}, against all {cell.row} that is wrong in {table}"
            yield Check(
                "pata", figure, "matrix", what, cell.printed, f"at most {wrong:.2f}", cell.value <= wrong + 0.01, remark
            )
