"""What all checks share: their form, the digits of printed numbers, whole numbers of images, arithmetic on cells."""

from __future__ import annotations

import re
from math import ceil, floor, log10
from typing import NamedTuple

import numpy as np
import pandas as pd

from fercore import published
from fercore.published import decimals as decimals
from fercore.published import half_unit as half_unit


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


def possible(printed: str, images: int) -> int | None:
    """The number of right answers among ``images`` that is printed as this percentage, or None if there is none.

    >>> possible("96.55", 29), possible("54.39", 436)
    (28, None)
    """
    value = float(printed)
    near = (floor(value * images / 100), ceil(value * images / 100))
    return next((k for k in near if abs(100 * k / images - value) <= half_unit(printed)), None)


def sizes(dataset: str, of: str, table: str = "") -> dict[str, int]:
    """Images behind a number: what they are -> how many; ``of`` is a protocol, a column or a class (``sizes.csv``).

    With ``table`` (``phanet T3``), ``of`` is a part of it (``pan``, ``pan, class``). The first entry is what the papers
    say or what follows from it, others are what public label and list files hold, or what other sizes were likely.
    """
    known = published.read("sizes")
    known = known[(known["dataset"] == dataset) & (known["of"] == of)]
    found = known[(known["paper"] + " " + known["table"]).str.strip() == table]
    return dict(zip(found["what"], found["images"].astype(int), strict=True))


def class_sizes(dataset: str) -> dict[str, int]:
    """Test images of each class, where they are known."""
    found = published.read("sizes").query("dataset == @dataset and what == 'class'")
    return dict(zip(found["of"], found["images"].astype(int), strict=True))


def kdef_cell_size(printed: str) -> int:
    """Images of a KDEF cell: 14 people, two photographs each, or the largest number below that allows this share."""
    return next((n for n in range(28, 0, -1) if possible(printed, n) is not None), 0)


class Amount(NamedTuple):
    """A number, and how far the rounding of what it is made from can move it."""

    value: float
    slack: float


def amount(paper: str, formula: str) -> Amount:
    """Arithmetic on published numbers: ``{T8:image backbone|FLOPs|} / 2`` for cell (row, column, data set) of Table 8.

    Without a place a number is one of the text; another paper's begins with its name (``{lan/T1:...}``). The column
    ``mean`` is the mean of a row's classes, ``over images`` the mean over their test images; the row ``diagonal`` is
    that of a confusion matrix, the place ``sizes`` is ``sizes.csv``. Counts are exact, other numbers as printed.
    """
    numbers: list[Amount] = []

    def name(match: re.Match[str]) -> str:
        numbers.append(_number(paper, match[1]))
        return f"x{len(numbers) - 1}"

    text = re.sub(r"\{(.*?)\}", name, formula)

    def value(moved: int = -1) -> float:
        names = {f"x{k}": own.value + own.slack * (k == moved) for k, own in enumerate(numbers)}
        return float(pd.eval(text, local_dict=names))

    return Amount(value(), sum(abs(value(k) - value()) for k, own in enumerate(numbers) if own.slack))


def shown(number: Amount) -> str:
    """With the digits that its rounding leaves: 80.0 and 19.00 as they are printed, counts without any."""
    if number.slack:
        return f"{number.value:,.{max(0, round(-log10(2 * number.slack)))}f}"
    return f"{number.value:,.2f}".rstrip("0").removesuffix(".")


def _number(paper: str, address: str) -> Amount:
    place, _, names = address.rpartition(":")
    other, _, place = place.rpartition("/")
    row, column, dataset = names.split("|")
    if place == "sizes":
        return Amount(next(iter(sizes(dataset, row).values())), 0)
    if column in ("mean", "over images"):
        return _mean(other or paper, place, row, dataset, column)
    cell = published.cell(other or paper, place or "text", row, column, dataset or None)
    return Amount(cell["value"], 0 if cell["metric"] == "count" else half_unit(cell["printed"]))


def _mean(paper: str, place: str, row: str, dataset: str, over: str) -> Amount:
    cells = published.load(paper, place) if place.startswith("T") else published.in_figures(paper, place)
    chosen = cells["row"] == (cells["column"] if row == "diagonal" else row)
    cells = cells[chosen & (cells["column"] != "Average") & (cells["dataset"] == dataset)]
    weights = [next(iter(sizes(dataset, name).values())) for name in cells["column"]] if over != "mean" else None
    halves = cells["printed"].map(half_unit).where(cells["printed"].str.contains(".", regex=False), 0)  # 1 is exact
    return Amount(*(float(np.average(numbers, weights=weights)) for numbers in (cells["value"], halves)))
