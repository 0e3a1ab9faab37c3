"""Pose subsets: the public list files of test images beyond 30 and 45 degrees.

Source: Wang et al., "Region Attention Networks for Pose and Occlusion Robust
Facial Expression Recognition", IEEE TIP 29 (2020), the list files published
with it. Three line forms occur::

    0/test_0004_aligned.jpg      RAF-DB
    0/fer0032226.jpg             FERPlus (the images themselves are .png)
    7/<56 hex digits>/8.jpg      AffectNet > 45: the sample is the folder

The number in front is the class, in the data set's own order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from fercore.data.labels import EXPRESSIONS
from fercore.errors import DataError

RAFDB_ORDER = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
AFFECTNET_ORDER = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")

_FORMS = (
    (re.compile(r"(\d)/((?:train|test)_\d{4,5})(?:_aligned)?\.(?:jpg|png)"), RAFDB_ORDER),
    (re.compile(r"(\d)/(fer\d{7})\.(?:jpg|png)"), EXPRESSIONS),
    (re.compile(r"(\d)/([0-9a-f]{56})(?:\.(?:jpg|png)|/(?:\d+\.(?:jpg|png))?)"), AFFECTNET_ORDER),
)


RESTORE = "restore the published file"
Row = TypeVar("Row")


class Entry(NamedTuple):
    """One line of a list: the sample's bare name and its class name."""

    sample: str
    label: str


def read_list(path: str | os.PathLike[str]) -> list[Entry]:
    """Read one pose list; every line is an entry, in file order, repeats included.

    Raises :class:`~fercore.errors.DataError` with file, line number and text
    for a line of no known form, and for an empty or undecodable file.
    """

    def parse(line: str) -> Entry | None:
        for form, order in _FORMS:
            match = form.fullmatch(line)
            if match and int(match[1]) < len(order):
                return Entry(match[2], order[int(match[1])])
        return None

    do = "expected e.g. '0/fer0032226.jpg', '0/test_0004_aligned.jpg' or '7/<hash>/8.jpg'"
    return read_lines(Path(path), parse, "entry of a pose list", do)


def read_lines(file: Path, parse: Callable[[str], Row | None], what: str, do: str) -> list[Row]:
    """What ``parse`` reads off each line of a text file that is not empty; errors say that it holds no ``what``, and
    what to ``do`` about a line of which nothing is read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read as text: {error}", do=RESTORE) from error
    rows = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            rows.append(parse(line))
            if rows[-1] is None:
                raise DataError(f"{file}, line {number}: '{line[:80]}' is no {what}.", do=do)
    if not rows:
        raise DataError(f"{file} holds no {what}.", do=RESTORE)
    return rows


def mark(
    table: pd.DataFrame, folder: Path, lists: Mapping[str, tuple[str, int]], split: str = "test"
) -> tuple[dict[str, pd.Series], list[str]]:
    """Which rows the lists in ``folder`` name: column -> (N,) bool, for each list that is there; and what is wrong.

    table: columns sample and split; ``lists``: column -> name of the file and how many different entries it has as
    published; only rows of ``split`` are marked.
    """
    marked, problems = {}, []
    for column, (name, published) in lists.items():
        if not (folder / name).is_file():
            problems.append(f"{column}: no list file pose_lists/{name} beside the images; the subset is not marked.")
            continue
        entries = {entry.sample for entry in read_list(folder / name)}
        marked[column] = table["sample"].isin(entries) & (table["split"] == split)
        missing = len(entries) - int(marked[column].sum())
        if missing or len(entries) != published:
            counted = f"{len(entries)} entries ({published} published)"
            problems.append(f"{column}: {counted}, {missing} without a {split} image.")
    return marked, problems
