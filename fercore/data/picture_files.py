"""Pictures as users have them: files in a folder, read safely, made square, written into the prepared form.

A loader says which files belong to a data set and what is known of each (:class:`Listing`); what all of them have in
common is here. Files come from outside: no path leaves the folder, no link is followed, sizes are bounded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from fercore.data import prepared
from fercore.errors import DataError
from fercore.progress import progress as bar

MOST_BYTES, MOST_PIXELS = 2**26, 40_000_000
"""A picture of a face is smaller; what is larger is refused before it is decoded."""
FORMATS = ("PNG", "JPEG", "BMP")
BOX = ("box_left", "box_top", "box_width", "box_height")
"""Columns of a listing that say where the face is, in pixels; they do not enter the manifest."""
DARK = 16
"""A picture whose brightest value is below this shows nothing."""
SHOWN = 5


class Listing(NamedTuple):
    """What lies in a folder: one row a picture (``file``, relative, and the manifest's columns), and what is wrong."""

    table: pd.DataFrame
    problems: list[str]


def read_picture(path: Path, root: Path | None = None) -> np.ndarray:
    """A picture's pixels (H, W, 3) uint8; ``root``: the folder that it must lie in.

    A missing, broken, huge or strange file, and a link, is an error that names it.
    """
    if path.is_symlink() or (root is not None and not path.resolve().is_relative_to(root.resolve())):
        raise DataError(f"{path} is a link, or leads out of its folder.", do="put the file itself there")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size >> 20} MiB: too large for a picture of a face.")
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise DataError(
                    f"{path} has {picture.width} x {picture.height} pixels: too many.", do="make it smaller"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = f"none of {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path} is no readable picture: {why}", do="restore it from the published files") from error


def square(image: np.ndarray, size: int, box: Sequence[float] | None = None) -> np.ndarray:
    """A square of a picture (H, W, 3), resized: (size, size, 3) uint8.

    The middle one; with ``box`` (left, top, width, height in pixels) one round the middle of the box, as large as its
    longer side, moved and cut so that it lies in the picture.
    """
    height, width = image.shape[:2]
    left, top, wide, high = (0, 0, width, height) if box is None else box
    longer = min(wide, high) if box is None else max(wide, high)
    side = max(1, round(min(height, width, longer)))
    x, y = round(left + (wide - side) / 2), round(top + (high - side) / 2)
    x, y = min(max(0, x), width - side), min(max(0, y), height - side)
    box = (x, y, x + side, y + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS, box=box))


def files_under(root: Path, endings: Sequence[str]) -> list[Path]:
    """Every regular file below ``root`` with one of the ``endings`` (lower case), sorted; links are not followed."""
    found = []
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        paths = (Path(folder) / name for name in sorted(names) if name.lower().endswith(tuple(endings)))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def prepare_pictures(
    target: Path,
    root: Path,
    listing: Listing,
    size: int,
    *,
    name: str,
    title: str,
    classes: Sequence[str],
    made: dict[str, Any],
    published: dict[str, int],
    progress: bool = True,
) -> None:
    """Write the listed pictures into the prepared form, square and of ``size``; the first that is broken is an error.

    ``published``: images expected by split, or ``all``; differences become notes of the card.
    """
    table = listing.table.reset_index(drop=True)
    boxes = table[list(BOX)].to_numpy(float) if BOX[0] in table else None
    with prepared.Writer(target, len(table), size) as out:
        for row, file in enumerate(bar(table["file"], title, len(table), unit=" images", wanted=progress)):
            box = None if boxes is None else boxes[row]
            out.images[row] = square(read_picture(root / file, root), size, box)
        counts = {"all": len(table)} | {split: int(n) for split, n in table["split"].value_counts().items()}
        out.finish(
            table.drop(columns=["file", *(BOX if boxes is not None else ())]),
            name=name,
            title=title,
            classes=tuple(classes),
            licence="as its authors give it, not redistributable: no picture of it enters a record or the repository",
            made=made | {"crop": "middle square" if boxes is None else "box of the face", "size": size},
            notes=[*differences(counts, published), *listing.problems],
            counts=counts,
        )


def differences(counts: dict[str, int], published: dict[str, int]) -> list[str]:
    """A sentence for each published count that is another one here."""
    return [
        f"{split}: {counts.get(split, 0):,} images, published {expected:,}."
        for split, expected in published.items()
        if counts.get(split, 0) != expected
    ]


def look(root: Path, table: pd.DataFrame) -> list[str]:
    """Sentences on broken, nearly black, repeated and odd-sized pictures of a listing; every file is read."""
    broken, dark, repeated, sizes = [], [], [], {}
    seen: dict[bytes, str] = {}
    for file in table["file"]:
        try:
            pixels = read_picture(root / file, root)
        except DataError as error:
            broken.append(str(error).splitlines()[0])
            continue
        if pixels.max() < DARK:
            dark.append(file)
        sizes.setdefault(pixels.shape[:2], []).append(file)
        digest = hashlib.sha256(pixels.tobytes()).digest()
        if seen.setdefault(digest, file) != file:
            repeated.append(f"{file} = {seen[digest]}")
    usual = max(sizes, key=lambda size: len(sizes[size]), default=None)
    odd = [f"{file} ({w} x {h})" for (h, w), files in sizes.items() if (h, w) != usual for file in files]
    found = (
        ("broken pictures", broken),
        ("nearly black pictures", dark),
        ("pictures with the same pixels as another", repeated),
        (f"pictures of another size than {usual[1]} x {usual[0]}" if usual else "", odd),
    )
    return [listed(what, items) for what, items in found if items]


def listed(what: str, items: Iterable[object]) -> str:
    """``3 broken pictures: a, b, c``; of many only the first are named. Nothing for nothing."""
    items = list(map(str, items))
    return f"{len(items)} {what}: {', '.join(items[:SHOWN])}{' ...' if len(items) > SHOWN else ''}" if items else ""
