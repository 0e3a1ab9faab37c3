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
from fercore.data.picture_files import Listing, listed
from fercore.data.pose_subsets import RAFDB_ORDER, read_list
from fercore.errors import DataError
from fercore.provenance import file_hash

LABELS = "EmoLabel/list_patition_label.txt"
PUBLISHED = {"train": 12271, "test": 3068}
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
SIZE = 100
HOW_TO_GET = (
    "ask for it on its authors' page (RAF-DB, basic expressions), lay it out as "
    "rafdb/EmoLabel/list_patition_label.txt and rafdb/Image/aligned/, and set FERCORE_DATA to the folder with rafdb"
)
_LINE = re.compile(r"((train|test)_\d{4,5})\.jpg\s+([1-7])")


def find_source(root: Path | None) -> Path:
    """The folder of RAF-DB below ``root`` (``FERCORE_DATA``), or ``root`` itself when it is one."""
    if root is None:
        raise DataError("RAF-DB is not at hand: FERCORE_DATA is not set.", do=HOW_TO_GET)
    for path in (root / "rafdb", root / "RAF-DB", root / "RAF-DB" / "basic", root / "basic", root):
        if (path / LABELS).is_file() and (path / "Image").is_dir():
            return path
    raise DataError(f"RAF-DB is not in {root}: no folder with {LABELS} and Image.", do=HOW_TO_GET)


def read_labels(file: Path) -> pd.DataFrame:
    """The label file: columns sample (``train_00001``), split and expression, a row a line, in its order."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} can't be read as RAF-DB's label file: {error}", do="restore the published file"
        ) from error
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(
                f"{file}, line {number}: '{line.strip()[:60]}' is no label.", do="expected e.g. 'train_00001.jpg 5'"
            )
        rows.append((match[1], match[2], RAFDB_ORDER[int(match[3]) - 1]))
    table = pd.DataFrame(rows, columns=["sample", "split", "expression"])
    twice = table["sample"][table["sample"].duplicated()]
    if not rows or len(twice):
        what = f"names {twice.iloc[0]} twice" if rows else "holds no label"
        raise DataError(f"{file} {what}.", do="restore the published file")
    return table


def read(source: Path) -> Listing:
    """Every labelled image that is there, with split, expression and, where their lists lie, the pose subsets."""
    table = read_labels(source / LABELS).assign(subject="", source="rafdb")
    aligned = source / "Image" / "aligned"
    folder, ending = (aligned, "_aligned.jpg") if aligned.is_dir() else (source / "Image" / "original", ".jpg")
    if not folder.is_dir():
        raise DataError(f"{source} has neither Image/aligned nor Image/original.", do=HOW_TO_GET)
    there = {path.name for path in picture_files.files_under(folder, (".jpg",))}
    names = table["sample"] + ending
    problems = [
        listed("labels without a picture", names[~names.isin(there)]),
        listed("pictures without a label", sorted(there - set(names))),
    ]
    table = table.assign(file=(folder.relative_to(source) / "x").as_posix()[:-1] + names)[names.isin(there)]
    if table.empty:
        raise DataError(f"{folder} holds none of the labelled images.", do=HOW_TO_GET)
    for column, (name, entries) in POSE_LISTS.items():
        marked, said = pose_subset(source.parent / "pose_lists" / name, table, entries)
        problems += said
        if marked is not None:
            table[column] = marked
    return Listing(table.reset_index(drop=True), [text for text in problems if text])


def pose_subset(file: Path, table: pd.DataFrame, published: int) -> tuple[pd.Series | None, list[str]]:
    """Which test images a list names, as booleans, and what is wrong with it; None where there is no list."""
    if not file.is_file():
        return None, [f"no list file pose_lists/{file.name} beside the images; the subset is not marked."]
    entries = {entry.sample for entry in read_list(file)}
    marked = table["sample"].isin(entries) & (table["split"] == "test")
    problems = [f"{file.name}: {len(entries)} entries, published {published}."] if len(entries) != published else []
    lost = sorted(entries - set(table["sample"][marked]))
    return marked, problems + ([listed(f"entries of {file.name} without a test image", lost)] if lost else [])


def prepare(target: Path, source: Path, *, size: int = SIZE, progress: bool = True) -> None:
    """Write the prepared form to ``target``."""
    picture_files.prepare_pictures(
        target, source, read(source), size, name="rafdb", title="RAF-DB (real)", classes=SEVEN,
        made={"source": source.name}, published=PUBLISHED, progress=progress,
    )  # fmt: skip


def key(source: Path, size: int = SIZE) -> str:
    """What a prepared RAF-DB depends on: labels, names and sizes of the pictures, pose lists, size."""
    lists = [source.parent / "pose_lists" / name for name, _ in POSE_LISTS.values()]
    hashes = [file_hash(path) for path in (source / LABELS, *lists) if path.is_file()]
    files = [f"{path.name} {path.stat().st_size}" for path in picture_files.files_under(source / "Image", (".jpg",))]
    return " ".join([str(size), *hashes, str(len(files)), *files])
