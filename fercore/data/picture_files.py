"""Pictures as users have them: files in a folder, read safely, made square, written into the prepared form.

A loader describes its set (:class:`PictureSet`): where it lies, which files belong to it and what is known of each
(:class:`Listing`). Finding, preparing, checking and keying are the same for all and stand here. Files come from
outside: no path leaves the folder, no link is followed, sizes are bounded.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from fercore.data import faces, prepared
from fercore.data.faces import Detector
from fercore.errors import DataError
from fercore.progress import progress as bar
from fercore.provenance import code_hash, file_hash

MOST_BYTES, MOST_PIXELS = 2**26, 40_000_000
"""A picture of a face is smaller; what is larger is refused before it is decoded."""
FORMATS = ("PNG", "JPEG", "BMP")
BOX = ("box_left", "box_top", "box_width", "box_height")
"""Columns of a listing that say where the face is, in pixels; they do not enter the manifest."""
DARK = 16
"""A picture whose brightest value is below this shows nothing."""
SHOWN = 5
LICENCE = "as its authors give it, not redistributable: no picture of it enters a record or the repository"


class Listing(NamedTuple):
    """What lies in a folder: one row a picture (``file``, relative, and the manifest's columns), and what is wrong."""

    table: pd.DataFrame
    problems: list[str]


def draw(source: Path, table: pd.DataFrame, size: int) -> Iterator[np.ndarray]:
    """The pictures of a listing in its order, square, (size, size, 3) uint8; of those with a box the face."""
    boxes = table[list(BOX)].to_numpy(float) if BOX[0] in table else [None] * len(table)
    for file, box in zip(table["file"], boxes, strict=True):
        yield square(read_picture(source / file, source), size, box)


def draw_found(
    source: Path, table: pd.DataFrame, size: int, detector: Detector, found: list[bool], *, aligned: bool
) -> Iterator[np.ndarray]:
    """The same with the largest face that a detector finds, perhaps turned upright; without one as it was given out.

    Whether one was found is added to ``found``, picture by picture.
    """
    for file in table["file"]:
        pixels = read_picture(source / file, source)
        face = faces.largest(detector(pixels))
        found.append(face is not None)
        yield square(pixels, size) if face is None else faces.cut(pixels, face, size, aligned=aligned)


def look(source: Path, table: pd.DataFrame) -> list[str]:
    """Sentences on broken, nearly black, repeated and odd-sized pictures of a listing; every file is read."""
    broken, dark, repeated, sizes = [], [], [], {}
    seen: dict[bytes, str] = {}
    for file in table["file"]:
        try:
            pixels = read_picture(source / file, source)
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


class PictureSet(NamedTuple):
    """A real set of files: what it is, where it lies, how it is read.

    ``folders``: names that it may have below ``FERCORE_DATA``; ``is_it``: whether a folder holds it, ``lacks``: what is
    said where none does; ``read``: folder and ``choices`` -> :class:`Listing`; ``published``: images by split, or
    ``all``; ``of_class``: the same by class; ``draw`` gives its pictures, ``look`` says what is wrong with them;
    ``code`` names the modules that draw where pictures are no files.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    is_it: Callable[[Path], bool]
    lacks: str
    how_to_get: str
    read: Callable[..., Listing]
    size: int
    endings: tuple[str, ...] = (".jpg", ".jpeg", ".png")
    published: Mapping[str, int] = {}
    of_class: Mapping[str, Mapping[str, int]] = {}
    choices: tuple[str, ...] = ()
    draw: Callable[[Path, pd.DataFrame, int], Iterator[np.ndarray]] = draw
    look: Callable[[Path, pd.DataFrame], list[str]] = look
    code: tuple[str, ...] = ()

    def find_source(self, root: Path | None) -> Path:
        """The set's folder below ``root`` (``FERCORE_DATA``), or ``root`` itself; DataError where neither is."""
        if root is None:
            raise DataError(f"{self.title} is not at hand: FERCORE_DATA is not set.", do=self.how_to_get)
        for path in (*(root / name for name in self.folders), root):
            if path.is_dir() and self.is_it(path):
                return path
        raise DataError(f"{self.title} is not in {root}: {self.lacks}.", do=self.how_to_get)

    def expected(self) -> dict[str, int]:
        """Published counts: of each split, and of each class as ``train fear``."""
        by_class = {f"{split} {name}": n for split, own in self.of_class.items() for name, n in own.items()}
        return {**self.published, **by_class}

    def counts(self, table: pd.DataFrame) -> dict[str, int]:
        """Images in all, by split, and by split and class, under the names of :meth:`expected`."""
        by_class = table.groupby(["split", "expression"]).size()
        counted = {"all": len(table)} | {split: int(n) for split, n in table["split"].value_counts().items()}
        return counted | {f"{split} {name}": int(n) for (split, name), n in by_class.items()}

    def chosen(self, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Every choice that the set has: as given, or as it is by default."""
        usual = {name: inspect.signature(self.read).parameters[name].default for name in self.choices}
        return usual | dict(choices)

    def prepare(
        self,
        target: Path,
        source: Path,
        *,
        size: int | None = None,
        treatment: str = "as distributed",
        yunet: str = "",
        progress: bool = True,
        **choices: Any,
    ) -> None:
        """Write the prepared form to ``target``; the first picture that can't be read is an error.

        treatment: what is done about faces (`fercore.data.faces.Treatment`); yunet: the detector's model file.
        """
        faces.check(treatment, yunet)
        size, listing, found = size or self.size, self.read(source, **choices), []
        table = listing.table.reset_index(drop=True)
        with prepared.Writer(target, len(table), size) as out:
            pictures = self.draw(source, table, size)
            if treatment != "as distributed":
                detector = faces.detector(Path(yunet) if yunet else None)
                pictures = draw_found(source, table, size, detector, found, aligned=treatment == "aligned")
            for row, picture in enumerate(bar(pictures, self.title, len(table), unit=" images", wanted=progress)):
                out.images[row] = picture
            made = {"source": source.name, "size": size, **self.chosen(choices)}
            made |= {"crop": "box of the face" if BOX[0] in table else "middle square"} if not self.code else {}
            if treatment != "as distributed":
                made |= {"crop": f"face, {treatment}", "detector": Path(yunet).name if yunet else "cascades of OpenCV"}
                table["face_found"] = found
                missed = listed(
                    "pictures without a face that was found, left as they are", table["file"][~np.array(found)]
                )
                listing.problems.extend([missed] if missed else [])
            counts = self.counts(table)
            out.finish(
                table.drop(columns=["file", "texture", *BOX], errors="ignore"),
                name=self.name,
                title=f"{self.title} (real)",
                classes=self.classes,
                licence=LICENCE,
                made=made,
                notes=[*differences(counts, self.published), *listing.problems],
                counts=counts,
            )

    def key(
        self,
        source: Path,
        *,
        size: int | None = None,
        treatment: str = "as distributed",
        yunet: str = "",
        **choices: Any,
    ) -> str:
        """What the prepared form depends on: names and sizes of files, labels, pose lists, choices, drawing code."""
        digest = hashlib.sha256()
        for path in files_under(source, self.endings):
            digest.update(f"{path.relative_to(source).as_posix()} {path.stat().st_size}\n".encode())
        labels = [*files_under(source, (".csv", ".txt")), *files_under(source.parent / "pose_lists", (".txt",))]
        words = [f"{name}={value}" for name, value in sorted(self.chosen(choices).items())]
        drawn = [code_hash(self.code)] if self.code else []
        if treatment != "as distributed":
            faces.check(treatment, yunet)
            drawn += [
                treatment,
                file_hash(Path(yunet).expanduser()) if yunet else "",
                code_hash(["fercore.data.faces"]),
            ]
        return " ".join([str(size or self.size), *words, digest.hexdigest(), *map(file_hash, labels), *drawn])


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
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))  # a telephone turns by a note
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


def named(folder: Path, parse: Callable[[str], object]) -> bool:
    """Whether a file in a folder, or in one of its folders, has a name that ``parse`` understands."""
    return any(parse(path.name) for form in ("*", "*/*") for path in folder.glob(form))


def differences(counts: dict[str, int], published: dict[str, int]) -> list[str]:
    """A sentence for each published count that is another one here."""
    return [
        f"{split}: {counts.get(split, 0):,} images, published {expected:,}."
        for split, expected in published.items()
        if counts.get(split, 0) != expected
    ]


def listed(what: str, items: Iterable[object]) -> str:
    """``3 broken pictures: a, b, c``; of many only the first are named. Nothing for nothing."""
    items = list(map(str, items))
    return f"{len(items)} {what}: {', '.join(items[:SHOWN])}{' ...' if len(items) > SHOWN else ''}" if items else ""
