"""FERPlus: 35,710 images of 48 x 48, each labelled by ten people.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016. Accepted as it lies on disk: the archive ``ferplus.tar.gz`` or a folder, both with
``data/FER2013{Train,Valid,Test}/ferNNNNNNN.png``, a ``label.csv`` in each of the three, and ``fer2013new.csv``.

The two label files disagree on 1,602 rows. The published pose subsets and test labels agree with ``label.csv`` on every
one of their images, so that one is the default; :func:`prepare` takes either, and either rule (:func:`majority`,
:func:`plurality`).
"""

from __future__ import annotations

import csv
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fercore.data import picture_files, prepared
from fercore.data.labels import EXPRESSIONS
from fercore.data.pose_subsets import mark
from fercore.errors import DataError, ParameterError
from fercore.progress import progress as bar
from fercore.provenance import file_hash

VOTES = (*EXPRESSIONS, "unknown", "NF")
"""The ten things a rater could say; NF means no face."""
FOLDERS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
LABEL_FILES = ("label.csv", "fer2013new.csv")
SIZE = 48
PUBLISHED = {
    ("majority", "label.csv"): {"train": 25045, "validation": 3191, "test": 3137},
    ("plurality", "fer2013new.csv"): {"train": 28386, "validation": 3553, "test": 3545},
}
"""Counts in circulation for a rule on a label file (images per split)."""
POSE_LISTS = {
    "pose_over_30": ("FERplus_dir_pose_30_ferplus_list.txt", 1170),
    "pose_over_45": ("FERplus_dir_pose_45_ferplus_list.txt", 633),
}
"""Manifest column -> list file under ``pose_lists/`` and its number of entries (the papers print one more)."""
HOW_TO_GET = (
    "get FER2013 and FERPlus, lay them out as ferplus.tar.gz or as a folder ferplus with data/FER2013Train, "
    "data/FER2013Valid, data/FER2013Test and fer2013new.csv, and set FERCORE_DATA to the folder that holds it"
)


def find_source(root: Path | None) -> Path:
    """The archive or folder below ``root`` (``FERCORE_DATA``), or ``root`` itself when it is one."""
    if root is None:
        raise DataError("FERPlus is not at hand: FERCORE_DATA is not set.", do=HOW_TO_GET)
    for path in (root / "ferplus", root / "FERPlus", root / "ferplus.tar.gz", root):
        if path.is_file() or (path / "data").is_dir():
            return path
    raise DataError(f"FERPlus is not in {root}: neither ferplus.tar.gz nor a folder ferplus/data.", do=HOW_TO_GET)


def _files(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(relative name, bytes) of the wanted regular files of an archive or folder; links are not followed."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_file() and not path.is_symlink() and wanted(name):
                yield name, path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile() and member.size < 2**24 and wanted(member.name):
                    yield member.name.removeprefix("./"), archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{source} is broken or no tar archive: {error}", do="fetch it again") from error


def pictures(source: Path) -> Iterator[tuple[str, bytes]]:
    """(relative name, bytes) of every picture of an archive or folder."""
    return _files(source, lambda name: name.endswith(".png"))


def read_votes(source: Path, labels: str = "label.csv") -> pd.DataFrame:
    """The vote counts of one label file, a row an image that has a name.

    Columns ``sample`` (``fer0000000``), ``split`` (train, validation, test) and the ten of :data:`VOTES` (int).
    """
    if labels not in LABEL_FILES:
        raise ParameterError(f"FERPlus has no label file '{labels}'.", do=f"take one of: {', '.join(LABEL_FILES)}")
    frames = []
    for name, text in _files(source, lambda name: name.rpartition("/")[2] == labels):
        folder = name.rpartition("/")[0].rpartition("/")[2]
        try:
            if labels == "fer2013new.csv":
                frames.append(_parse_fer2013new(text, f"{source}:{name}"))
            elif folder in FOLDERS:
                frames.append(_parse_label_csv(text, f"{source}:{name}", FOLDERS[folder]))
        except csv.Error as error:
            raise DataError(f"{source}:{name} is no readable csv: {error}", do="restore the published file") from error
    if not frames:
        raise DataError(f"{source} holds no {labels}.", do=HOW_TO_GET)
    table = pd.concat(frames, ignore_index=True)
    if labels == "fer2013new.csv":
        # The published file names four images twice, one of them with other votes; the published counts take the last.
        return table.drop_duplicates("sample", keep="last", ignore_index=True)
    twice = table["sample"][table["sample"].duplicated()]
    if len(twice):
        raise DataError(f"{source}: {labels} names {twice.iloc[0]} twice.", do="restore the published file")
    return table


def disagreements(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Images to which two label files give different votes: both rows side by side, suffixes ``_1`` and ``_2``."""
    both = first.merge(second, on="sample", suffixes=("_1", "_2"))
    votes = [both[[f"{name}_{k}" for name in VOTES]].to_numpy() for k in (1, 2)]
    return both[(votes[0] != votes[1]).any(1)].reset_index(drop=True)


def _parse_label_csv(text: bytes, where: str, split: str) -> pd.DataFrame:
    """No header: image name, face box as text, ten counts."""
    rows = []
    for number, row in enumerate(csv.reader(io.StringIO(text.decode("utf-8", "replace"))), 1):
        if not row:
            continue
        if len(row) != 2 + len(VOTES) or not re.fullmatch(r"fer\d{7}\.png", row[0]) or not _counts(row[2:]):
            raise DataError(
                f"{where}, line {number}: expected a name like fer0000000.png, a face box and {len(VOTES)} counts, "
                f"found {len(row)} columns starting {row[0][:40]!r}.",
                do="restore the published file",
            )
        rows.append((row[0][:-4], split, *map(int, row[2:])))
    return pd.DataFrame(rows, columns=["sample", "split", *VOTES])


def _parse_fer2013new(text: bytes, where: str) -> pd.DataFrame:
    """With header; rows without an image name are faces that FER2013's cleaning removed."""
    reader = csv.DictReader(io.StringIO(text.decode("utf-8", "replace")))
    lost = [name for name in ("Usage", "Image name", *VOTES) if name not in (reader.fieldnames or ())]
    if lost:
        raise DataError(f"{where} has no column {', '.join(lost)}.", do="restore the published file")
    rows = []
    for number, row in enumerate(reader, 2):
        votes = [row[name] for name in VOTES]
        if row["Usage"] not in USAGES or not _counts(votes):
            raise DataError(f"{where}, line {number}: unknown usage or a count that is no number.", do="restore it")
        if row["Image name"]:
            rows.append((row["Image name"].removesuffix(".png"), USAGES[row["Usage"]], *map(int, votes)))
    return pd.DataFrame(rows, columns=["sample", "split", *VOTES])


def _counts(words: list[str | None]) -> bool:
    return all(word is not None and word.isascii() and word.isdigit() and len(word) < 4 for word in words)


def majority(votes: np.ndarray) -> np.ndarray:
    """Majority rule: drop single votes, keep the answer with more than half of what remains.

    ``votes`` (N, 10) int in the order of :data:`VOTES`; returns (N,) int64, the
    class, or -1 where no answer has more than half or it is unknown or NF.
    """
    kept = np.where(votes > 1, votes, 0)
    best = kept.argmax(1)
    wins = 2 * kept.max(1) > kept.sum(1)
    return np.where(wins & (best < len(EXPRESSIONS)), best, -1)


def plurality(votes: np.ndarray) -> np.ndarray:
    """Plain arg-max over the ten answers, the first of equals; -1 where it is unknown or NF."""
    best = votes.argmax(1)
    return np.where((votes.max(1) > 0) & (best < len(EXPRESSIONS)), best, -1)


RULES = {"majority": majority, "plurality": plurality}


def decode(data: bytes, where: str) -> np.ndarray:
    """A picture's pixels, (48, 48) uint8; anything else is an error that names the file."""
    pixels = picture_files.decode(io.BytesIO(data), where, "L")
    if pixels.shape != (SIZE, SIZE):
        raise DataError(f"{where} is {pixels.shape[1]} x {pixels.shape[0]} pixels, not 48 x 48.", do="restore it")
    return pixels


def prepare(
    target: Path, source: Path, *, rule: str = "majority", labels: str = "label.csv", progress: bool = True
) -> None:
    """Write the prepared form to ``target``: images with a label under ``rule``, votes kept in ``votes_*`` columns."""
    if rule not in RULES:
        raise ParameterError(f"FERPlus has no label rule '{rule}'.", do=f"take one of: {', '.join(RULES)}")
    table = read_votes(source, labels)
    answer = RULES[rule](table[list(VOTES)].to_numpy())
    table = table.assign(expression=[EXPRESSIONS[k] if k >= 0 else "" for k in answer])
    kept = table[table["expression"] != ""].sort_values("sample", kind="stable").reset_index(drop=True)
    row_of = {sample: row for row, sample in enumerate(kept["sample"])}
    with prepared.Writer(target, len(kept), SIZE) as out:
        seen = np.zeros(len(kept), bool)
        for name, data in bar(pictures(source), "FERPlus", 35710, unit=" images", wanted=progress):
            row = row_of.get(os.path.basename(name)[:-4])
            if row is not None:
                out.images[row] = decode(data, f"{source}:{name}")[..., None]
                seen[row] = True
        if not seen.all():
            lost = kept["sample"][~seen]
            raise DataError(
                f"{source}: {len(lost)} labelled images are missing, first {', '.join(lost[:3])}.", do="fetch it again"
            )
        manifest = kept[["sample", "expression", "split"]].assign(subject="", source="ferplus")
        manifest = manifest.join(kept[list(VOTES)].add_prefix("votes_"))
        marked, notes = mark(manifest, source.parent / "pose_lists", POSE_LISTS)
        manifest = manifest.assign(**marked)
        counts = {split: int(n) for split, n in kept["split"].value_counts().items()}
        published = PUBLISHED.get((rule, labels))
        none = ["No published counts for this rule and label file."]
        notes += none if published is None else picture_files.differences(counts, published)
        out.finish(
            manifest,
            name="ferplus",
            title="FERPlus (real)",
            classes=EXPRESSIONS,
            licence="research use, not redistributable: no picture of it enters a record or the repository",
            made={"rule": rule, "labels": labels, "source": source.name, "dropped": len(table) - len(kept)},
            notes=notes,
            counts=counts | {name: int(manifest[name].sum()) for name in POSE_LISTS if name in manifest},
        )


def key(source: Path, rule: str = "majority", labels: str = "label.csv") -> str:
    """What a prepared FERPlus depends on: the archive's content, or a folder's labels and the names and sizes of its
    pictures; the rule, the label file, the pose lists."""
    parts = [rule, labels, *([] if source.is_file() else [picture_files.names_and_sizes(source, (".png",))])]
    files = [source] if source.is_file() else [*sorted(source.glob("data/*/label.csv")), source / "fer2013new.csv"]
    files += [source.parent / "pose_lists" / name for name, _ in POSE_LISTS.values()]
    parts += [file_hash(path) for path in files if path.is_file()]
    return " ".join(parts)
