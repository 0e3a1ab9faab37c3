"""The papers' numbers held against each other: averages, differences, totals, counts, confusion matrices, quotations.

Every check reads :mod:`fercore.published` alone. A check passes when the printed
number can come from the numbers it depends on, with each of them rounded as
printed; one that does not pass is a finding. Findings say what does not fit,
not who is right: misprints, other splits and averages over runs explain most.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fercore import published
from fercore.errors import ParameterError


class Check(NamedTuple):
    """One printed number and what follows from the others; ``fits`` says whether rounding can explain the gap."""

    paper: str
    place: str
    kind: str
    what: str
    printed: str
    computed: str
    fits: bool
    remark: str = ""


def decimals(printed: str) -> int:
    """Digits behind the point of a printed number: ``86.50`` has 2."""
    return len(printed.partition(".")[2])


def half_unit(printed: str) -> float:
    """Half of the last printed digit, with a little for arithmetic: 0.005 for ``86.50``."""
    return 0.5 * 10.0 ** -decimals(printed) + 1e-9


def possible(printed: str, images: int) -> int | None:
    """The number of right answers among ``images`` that is printed as this percentage, or None if there is none.

    >>> possible("96.55", 29), possible("54.39", 436)
    (28, None)
    """
    value = float(printed)
    near = (floor(value * images / 100), ceil(value * images / 100))
    return next((k for k in near if abs(100 * k / images - value) <= half_unit(printed)), None)


@cache
def checks() -> pd.DataFrame:
    """Every check, a row each: paper, place, kind, what, printed, computed, fits, remark. Computed once."""
    made = [
        *averages(),
        *derived(),
        *totals(),
        *granularity(),
        *cell_counts(),
        *matrices(),
        *quoted(),
        *protocols(),
        *orders(),
    ]
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


def sizes(dataset: str, of: str) -> dict[str, int]:
    """Images behind a number: what they are -> how many; ``of`` is a protocol, a column or a class (``sizes.csv``).

    The first entry is what the papers say, others are what public label and list files hold.
    """
    found = published.read("sizes").query("dataset == @dataset and of == @of")
    return dict(zip(found["what"], found["images"].astype(int), strict=True))


def class_sizes(dataset: str) -> dict[str, int]:
    """Test images of each class, where they are known."""
    found = published.read("sizes").query("dataset == @dataset and what == 'class'")
    return dict(zip(found["of"], found["images"].astype(int), strict=True))


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


def _average(paper: str, table: str, what: str, dataset: str, printed: str, parts: pd.DataFrame) -> Check:
    plain = float(parts["value"].mean())
    whole = ~parts["printed"].str.contains(".", regex=False)  # 0, 90 and 100 are printed short, not rounded
    slack = half_unit(printed) + float(parts["printed"].map(half_unit).where(~whole, 0).mean())
    fits, remark = abs(plain - float(printed)) <= slack, ""
    known = class_sizes(dataset)
    if dataset == "KDEF":
        known = {name: n for name, text in parts["printed"].items() if (n := _cell_size(text)) >= 27}
    if not fits and set(parts.index) <= set(known):
        weighted = float(np.average(parts["value"], weights=[known[name] for name in parts.index]))
        remark = f"over images: {weighted:.2f}"
        fits = abs(weighted - float(printed)) <= slack
    return Check(paper, table, "average", what, printed, f"{plain:.2f}", bool(fits), remark)


# ------------------------------------------------------- differences, repetitions


def derived() -> Iterator[Check]:
    """Numbers that a paper derives from its own cells, or prints twice (``derived.csv``)."""
    for line in published.read("derived").itertuples():
        place = line.table or line.figure
        printed = published.cell(line.paper, place, line.row, line.column, line.dataset or None)["printed"]
        one, two = (_cell(line.paper, text, line.dataset) if text else None for text in (line.first, line.second))
        value, slack = float(one["value"]), half_unit(printed) + half_unit(one["printed"])
        if two is not None:
            value -= float(two["value"])
            slack += half_unit(two["printed"])
        if line.kind == "relative":
            value, slack = 100 * value / float(one["value"]), half_unit(printed) + 100 / float(one["value"])
        if line.kind == "share":
            value, slack = value / 100, half_unit(printed) + half_unit(one["printed"]) / 100
        if line.kind in ("same", "backbone"):
            slack = max(half_unit(printed), half_unit(one["printed"]))
        source = " − ".join(text.replace("|", ", ") for text in (line.first, line.second) if text)
        remark = "the same backbone without attention" if line.kind == "backbone" else ""
        kind = "difference" if line.second else "repetition"
        of = "" if line.dataset in line.column else f" of {line.dataset}"
        what = f"{line.row}, {line.column}{of}: {source}"
        yield Check(
            line.paper, place, kind, what, printed, f"{value:.4g}", abs(value - float(printed)) <= slack, remark
        )


def _cell(paper: str, text: str, dataset: str) -> dict[str, Any]:
    """``place|row|column``; the data set only decides where a table has that cell for several."""
    address = text.split("|")
    try:
        return published.cell(paper, *address, dataset)
    except ParameterError:
        return published.cell(paper, *address)


# -------------------------------------------------------------------- totals


def totals() -> Iterator[Check]:
    """Stated counts against the product, sum or limit that follows from others (``totals.csv``)."""
    for line in published.read("totals").itertuples():
        printed, computed = (_arithmetic(line.paper, text) for text in (line.printed, line.computed))
        fits = printed <= computed if line.rule == "at most" else abs(printed - computed) < 1e-6
        texts = (f"{value:,.1f}".removesuffix(".0") for value in (printed, computed))
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


# --------------------------------------------------------------- granularity


def granularity() -> Iterator[Check]:
    """Percentages against the size of their test set: some whole number of images must be printed as this number.

    Only where the step of one image is larger than the last printed digit, and
    only a paper's own measurements. The first size is the one that the paper
    states. A number that was cut off instead of rounded passes with a remark.
    """
    cells = pd.concat([published.load(), published.in_figures().rename(columns={"figure": "table"})])
    cells = cells[(cells["cited"] == "") & (cells["unit"] == "%") & cells["metric"].isin(("accuracy", "recall"))]
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
    return sizes(cell.dataset, cell.protocol) or sizes(cell.dataset, cell.column)


def cell_counts() -> Iterator[Check]:
    """KDEF, 14 test subjects: each cell is a share of at most 28 images. Do the cells allow the stated 979?"""
    for paper, table in (("phanet", "T4"), ("dmlnet", "T3")):
        cells = published.load(paper, table).query("metric == 'recall'")
        sizes = [_cell_size(text) for text in cells["printed"] if text]
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


def _cell_size(printed: str) -> int:
    """Images of a KDEF cell: 14 people, two photographs each, or the largest number below that allows this share."""
    return next((n for n in range(28, 0, -1) if possible(printed, n) is not None), 0)


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


# -------------------------------------------------------------------- quoted


def quotations() -> pd.DataFrame:
    """Every accuracy that two or more papers print for one method on the same images; a row each printing."""
    cells = published.load()
    by_class = cells.loc[(cells["row"] == "Average") | (cells["row"] == "anger"), ["paper", "table"]].apply(
        tuple, axis=1
    )
    methods = ~cells[["paper", "table"]].apply(tuple, axis=1).isin(set(by_class))
    cells = cells[methods & cells["metric"].isin(("accuracy", "pose accuracy")) & cells["value"].notna()].copy()
    known = {(line.paper, line.row): line.method for line in published.read("methods").itertuples()}
    cells["method"] = [known.get(name, name[1]) for name in zip(cells["paper"], cells["row"], strict=True)]
    cells["images"] = cells["protocol"].str.partition(",")[0]
    cells["pan"] = cells["column"].where(cells["column"].str.fullmatch(r"-?\d+"), "")
    return cells[cells["images"] != ""]


def quoted() -> Iterator[Check]:
    """The same method's number as another paper prints it; the remark says where."""
    keys = ["dataset", "images", "metric", "pan", "method"]
    for (dataset, images, metric, pan, method), group in quotations().groupby(keys, sort=False):
        once = group.drop_duplicates("paper")
        if len(once) < 2:
            continue
        one, *others = once.itertuples()
        for other in others:
            fits = abs(one.value - other.value) <= max(half_unit(one.printed), half_unit(other.printed))
            where = f"{images}{f', pan {pan}' if pan else ''}"
            what, other_place = f"{method}, {dataset}, {where}: {metric}", f"{published.PAPERS[one.paper]} {one.table}"
            yield Check(other.paper, other.table, "quoted", what, other.printed, one.printed, fits, other_place)


def protocols() -> Iterator[Check]:
    """The same number of the same method under two descriptions of what was tested on."""
    whole = (
        quotations()
        .query("pan == '' and metric == 'accuracy'")
        .drop_duplicates(["paper", "dataset", "method", "images"])
    )
    for (dataset, method), group in whole.groupby(["dataset", "method"], sort=False):
        rows = list(group.itertuples())
        for k, one in enumerate(rows):
            for other in rows[:k]:
                if one.paper != other.paper and one.images != other.images and abs(one.value - other.value) < 0.006:
                    what = (
                        f"{method}, {dataset}: {one.printed} here and in {published.PAPERS[other.paper]} {other.table}"
                    )
                    yield Check(one.paper, one.table, "protocol", what, one.images, other.images, False)


def orders() -> Iterator[Check]:
    """Rankings that prose states, against the cells; the best of a table against a published number it leaves out."""
    table = published.load("phanet", "T6")
    for dataset, column in table.groupby("dataset", sort=False):
        rank = int(column.set_index("row")["value"].rank(ascending=False)["N_S1+H_S2+H_S3"])
        what = f"rank of pixel attention at all scales, {dataset}; called second highest"
        yield Check("phanet", "T6", "order", what, "2", str(rank), rank == 2)
    for dataset, cell, own in (
        ("KDEF", "T2|DML-Net|FER", "T5|PhaNet|FER"),
        ("BU-3DFE", "T5|DML-Net|FER, -90..90", "T1|PhaNet|FER, -90..90"),
        ("BU-3DFE", "T5|DML-Net|FER, -45..45", "T1|PhaNet|FER, -45..45"),
        ("Multi-PIE", "T6|DML-Net|Average", "T3|PhaNet|Average"),
    ):
        best, earlier = _cell("dmlnet", cell, dataset), _cell("phanet", own, dataset)
        what = f"{dataset}, {cell.split('|')[2]}: best of the table against PhaNet, which it does not list"
        fits = bool(best["value"] + half_unit(best["printed"]) >= earlier["value"])
        yield Check("dmlnet", best["table"], "order", what, best["printed"], earlier["printed"], fits)


# --------------------------------------------------------------- conventions

COUNTED = {"image backbone": (17_611_968, 5.478), "landmark backbone": (1_007_248, 0.227)}
"""Parameters and 10^9 multiply-adds at 112 x 112: IR-50 cut at 14 x 14 x 256, and the whole MobileFaceNet."""


def conventions(width: int = 768, tokens: int = 197, blocks: int = 2) -> pd.DataFrame:
    """PCDA Table 8 beside counts of the same modules: parameters, multiply-adds, and twice that.

    The cross attention is counted from the paper's equations: four projections
    (Eq. 3), an output projection and a perceptron of ratio 4 a block, two
    embeddings of 256 and 128 channels.
    """
    weights = blocks * 13 * width**2 + (256 + 128) * width
    adds = blocks * (13 * width**2 * tokens + 2 * tokens**2 * width) + (256 + 128) * width * (tokens - 1)
    counted = COUNTED | {"cross attention module": (weights, adds / 1e9)}
    table = published.load("pcda", "T8").pivot(index="row", columns="column", values="value").loc[list(counted)]
    numbers = {"parameters, printed, M": table["parameters"], "FLOPs, printed, G": table["FLOPs"]}
    frame = pd.DataFrame(numbers).rename_axis("module")
    frame["parameters, counted, M"] = [counted[name][0] / 1e6 for name in frame.index]
    frame["multiply-adds, counted, G"] = [counted[name][1] for name in frame.index]
    frame["twice that, G"] = 2 * frame["multiply-adds, counted, G"]
    return frame.reset_index()
