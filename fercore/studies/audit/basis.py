"""What all checks share: their form, the digits of printed numbers, whole numbers of images, sizes of test sets."""

from __future__ import annotations

from math import ceil, floor
from typing import Any, NamedTuple

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


def kdef_cell_size(printed: str) -> int:
    """Images of a KDEF cell: 14 people, two photographs each, or the largest number below that allows this share."""
    return next((n for n in range(28, 0, -1) if possible(printed, n) is not None), 0)


def cell_at(paper: str, text: str, dataset: str) -> dict[str, Any]:
    """``place|row|column``; the data set only decides where a table has that cell for several."""
    address = text.split("|")
    try:
        return published.cell(paper, *address, dataset)
    except ParameterError:
        return published.cell(paper, *address)
