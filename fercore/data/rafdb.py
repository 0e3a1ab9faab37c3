"""RAF-DB, basic expressions: 15,339 photographs from the web, 12,271 to train on and 3,068 to test on.

Source: Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild" (CVPR 2017). Accepted as it is given out: a folder with ``EmoLabel/list_patition_label.txt`` (the name is theirs)
and ``Image/aligned`` with ``train_00001_aligned.jpg`` and so on, or ``Image/original`` with ``train_00001.jpg``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fercore.data import picture_files
from fercore.data.labels import SEVEN
from fercore.data.picture_files import Listing, PictureSet, listed, said
from fercore.data.pose_subsets import RAFDB_ORDER, RESTORE, mark, read_lines
from fercore.errors import DataError

LABELS = "EmoLabel/list_patition_label.txt"
OF_CLASS = {
    "train": dict(zip(RAFDB_ORDER, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
    "test": dict(zip(RAFDB_ORDER, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
}
"""Published images of each class."""
POSE_LISTS = {
    "pose_over_30": ("RAF_DB_dir_val_raf_db_list.txt", 1247),
    "pose_over_45": ("RAF_DB_dir_val_raf_db_list_45.txt", 558),
}
"""Manifest column -> list file under ``pose_lists/`` and its entries (papers print one more for the first)."""
_LINE = re.compile(r"((train|test)_\d{4,5})\.jpg\s+([1-7])")


def read_labels(file: Path) -> pd.DataFrame:
    """The label file: columns sample (``train_00001``), split and expression, a row a line, in its order."""
    found = read_lines(file, _LINE.fullmatch, "label of RAF-DB", "expected e.g. 'train_00001.jpg 5'")
    rows = [(match[1], match[2], RAFDB_ORDER[int(match[3]) - 1]) for match in found]
    table = pd.DataFrame(rows, columns=["sample", "split", "expression"])
    twice = table["sample"][table["sample"].duplicated()]
    if len(twice):
        raise DataError(f"{file} names {twice.iloc[0]} twice.", do=RESTORE)
    return table


def read(source: Path) -> Listing:
    """Every labelled image that is there, with split, expression and, where their lists lie, the pose subsets."""
    table = read_labels(source / LABELS).assign(subject="", source="rafdb")
    aligned = source / "Image" / "aligned"
    folder, ending = (aligned, "_aligned.jpg") if aligned.is_dir() else (source / "Image" / "original", ".jpg")
    if not folder.is_dir():
        raise DataError(f"{source} has neither Image/aligned nor Image/original.", do=SET.how_to_get)
    there = {path.name for path in picture_files.files_under(folder, (".jpg",))}
    names = table["sample"] + ending
    problems = [
        listed("labels without a picture", names[~names.isin(there)]),
        listed("pictures without a label", sorted(there - set(names))),
    ]
    table = table.assign(file=(folder.relative_to(source) / "x").as_posix()[:-1] + names)[names.isin(there)]
    if table.empty:
        raise DataError(f"{folder} holds none of the labelled images.", do=SET.how_to_get)
    marked, unmarked = mark(table, source.parent / "pose_lists", POSE_LISTS)
    table = table.assign(**marked).reset_index(drop=True)
    return Listing(table, said(*problems, *unmarked))


SET = PictureSet(
    name="rafdb",
    title="RAF-DB",
    classes=SEVEN,
    folders=("rafdb", "RAF-DB", "RAF-DB/basic", "basic"),
    is_it=lambda path: (path / LABELS).is_file() and (path / "Image").is_dir(),
    lacks=f"no folder with {LABELS} and Image",
    how_to_get="ask for it on its authors' page (RAF-DB, basic expressions), lay it out as "
    "rafdb/EmoLabel/list_patition_label.txt and rafdb/Image/aligned/, and set FERCORE_DATA to the folder with rafdb",
    read=read,
    size=100,
    published={"train": 12271, "test": 3068},
    of_class=OF_CLASS,
)
