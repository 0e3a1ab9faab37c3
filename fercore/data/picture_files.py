"""Pictures as users have them: files in a folder, read safely, made square, written into the prepared form.

A loader describes its set (:class:`PictureSet`): where it lies, which files belong to it and what is known of each
(:class:`Listing`). Finding, preparing, checking and keying are the same for all and stand here. Files come from
outside: no path leaves the folder, no link is followed, sizes are bounded.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

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
UNTREATED = "as distributed"
LICENCE = "as its authors give it, not redistributable: no picture of it enters a record or the repository"


class Listing(NamedTuple):
    """What lies in a folder: a row for each picture (``file``, relative, the manifest's columns), and what is wrong."""

    table: pd.DataFrame
    problems: list[str]


def draw(source: Path, table: pd.DataFrame, size: int) -> Iterator[np.ndarray]:
    """The pictures of a listing in its order, square, (size, size, 3) uint8; of those with a box the face."""
    boxes = table[list(BOX)].to_numpy(float) if BOX[0] in table else [None] * len(table)
    for file, box in zip(table["file"], boxes, strict=True):
        yield square(read_picture(source / file, source), size, box)


def draw_found(
    source: Path, table: pd.DataFrame, size: int, detector: Detector, *, aligned: bool
) -> Iterator[tuple[np.ndarray, bool]]:
    """The same with the largest face that a detector finds, perhaps turned upright, and whether it found one; without
    one as it was given out."""
    for file in table["file"]:
        pixels = read_picture(source / file, source)
        face = faces.largest(detector(pixels))
        yield square(pixels, size) if face is None else faces.cut(pixels, face, size, aligned=aligned), face is not None


def look(source: Path, table: pd.DataFrame) -> list[str]:
    """:func:`look_at` of every picture of a listing."""
    return look_at((file, partial(read_picture, source / file, source)) for file in table["file"])


def look_at(pictures: Iterable[tuple[str, Callable[[], np.ndarray]]]) -> list[str]:
    """Sentences on broken, nearly black, repeated and odd-sized pictures; a picture is its name and what reads it."""
    broken, dark, repeated, sizes, seen = [], [], [], {}, {}
    for name, read in pictures:
        try:
            pixels = read()
        except DataError as error:
            broken.append(str(error).splitlines()[0])
            continue
        if pixels.max() < DARK:
            dark.append(name)
        sizes.setdefault(pixels.shape[:2], []).append(name)
        first = seen.setdefault(hashlib.sha256(pixels.tobytes()).digest(), name)
        if first != name:
            repeated.append(f"{name} = {first}")
    (high, wide), _ = max(sizes.items(), key=lambda item: len(item[1]), default=((0, 0), []))
    odd = [f"{name} ({w} x {h})" for (h, w), names in sizes.items() if (h, w) != (high, wide) for name in names]
    return said(
        listed("broken pictures", broken),
        listed("nearly black pictures", dark),
        listed("pictures with the same pixels as another", repeated),
        listed(f"pictures of another size than {wide} x {high}", odd),
    )


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
        if source := self.found_in(root):
            return source
        raise DataError(f"{self.title} is not in {root}: {self.lacks}.", do=self.how_to_get)

    def found_in(self, root: Path) -> Path | None:
        """The set's folder below ``root``, or ``root`` itself; None where neither is."""
        places = (*(root / name for name in self.folders), root)
        return next((path for path in places if path.is_dir() and self.is_it(path)), None)

    def expected(self) -> dict[str, int]:
        """Published counts: of each split, and of each class as ``train fear``."""
        by_class = {f"{split} {name}": n for split, own in self.of_class.items() for name, n in own.items()}
        return {**self.published, **by_class}

    def counts(self, table: pd.DataFrame) -> dict[str, int]:
        """Images in all, by split, and by split and class, under the names of :meth:`expected`."""
        by_class = (table["split"] + " " + table["expression"]).value_counts().sort_index()
        return {"all": len(table), **table["split"].value_counts().to_dict(), **by_class.to_dict()}

    def chosen(self, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Every choice that the set has: as given, or as it is by default."""
        usual = {name: inspect.signature(self.read).parameters[name].default for name in self.choices}
        return usual | dict(choices)

    def prepare(
        self, target: Path, source: Path, *, size: int = 0, treatment: str = UNTREATED, yunet: str = "", **choices: Any
    ) -> None:
        """Write the prepared form to ``target``; the first picture that can't be read is an error.

        treatment: what is done about faces (`fercore.data.faces.Treatment`); yunet: the detector's model file.
        """
        faces.check(treatment, yunet)
        table, problems = self.read(source, **choices)
        size, found = size or self.size, np.ones(len(table), bool)
        made = {"source": source.name, "size": size, **self.chosen(choices)}
        if treatment == UNTREATED:
            pictures = zip(self.draw(source, table, size), found, strict=True)
            made |= {} if self.code else {"crop": "box of the face" if BOX[0] in table else "middle square"}
        else:
            detector = faces.detector(Path(yunet) if yunet else None)
            pictures = draw_found(source, table, size, detector, aligned=treatment == "aligned")
            made |= {"crop": f"face, {treatment}", "detector": Path(yunet).name if yunet else "cascades of OpenCV"}
        with prepared.Writer(target, len(table), size) as out:
            for row, picture in enumerate(bar(pictures, self.title, len(table), unit=" images")):
                out.images[row], found[row] = picture
            if treatment != UNTREATED:
                table = table.assign(face_found=found)
            missed = listed("pictures without a face that was found, left as they are", table["file"][~found])
            counts = self.counts(table)
            out.finish(
                table.drop(columns=["file", "texture", *BOX], errors="ignore"),
                name=self.name,
                title=f"{self.title} (real)",
                classes=self.classes,
                licence=LICENCE,
                made=made,
                notes=[*differences(counts, self.published), *problems, *said(missed)],
                counts=counts,
            )

    def key(self, source: Path, *, size: int = 0, treatment: str = UNTREATED, yunet: str = "", **choices: Any) -> str:
        """What the prepared form depends on: names and sizes of files, labels, pose lists, choices, drawing code."""
        labels = [*files_under(source, (".csv", ".txt")), *files_under(source.parent / "pose_lists", (".txt",))]
        words = [f"{name}={value}" for name, value in sorted(self.chosen(choices).items())]
        drawn = [code_hash(self.code)] if self.code else []
        if treatment != UNTREATED:
            faces.check(treatment, yunet)
            model = file_hash(Path(yunet).expanduser()) if yunet else ""
            drawn += [treatment, model, code_hash(["fercore.data.faces"])]
        return " ".join(
            [str(size or self.size), *words, names_and_sizes(source, self.endings), *map(file_hash, labels), *drawn]
        )


def read_picture(path: Path, root: Path | None = None) -> np.ndarray:
    """A picture's pixels (H, W, 3) uint8; ``root``: the folder that it must lie in.

    A missing, broken, huge or strange file, and a link, is an error that names it.
    """
    if path.is_symlink() or (root is not None and not path.resolve().is_relative_to(root.resolve())):
        raise DataError(f"{path} is a link, or leads out of its folder.", do="put the file itself there")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size >> 20} MiB: too large for a picture of a face.")
    return decode(path, path)


def decode(file: Path | BinaryIO, name: Path | str, mode: str = "RGB") -> np.ndarray:
    """The pixels of an upright picture of one of :data:`FORMATS`; another, broken or huge one is an error with its
    ``name``. ``mode``: as Pillow calls it, RGB (H, W, 3) or L (H, W)."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                what = f"{name} has {picture.width} x {picture.height} pixels: too many."
                raise DataError(what, do="make it smaller")
            return np.asarray(ImageOps.exif_transpose(picture).convert(mode))  # a telephone turns by a note
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = f"none of {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{name} is no readable picture: {why}", do="restore it from the published files") from error


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
    found = (path for path in sorted(root.rglob("*")) if path.name.lower().endswith(tuple(endings)))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def names_and_sizes(root: Path, endings: Sequence[str]) -> str:
    """Hash of the names and sizes of :func:`files_under`: what a set's pictures are told by, as reading them all takes
    minutes."""
    lines = (f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n" for path in files_under(root, endings))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def by_name(
    source: Path, endings: Sequence[str], parse: Callable[[Path], dict[str, Any] | None], folder: Path | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each file below ``source``, or ``folder`` in it: its ``file``, and what ``parse`` reads off that
    relative path; and the files of which it reads nothing."""
    paths = [path.relative_to(source) for path in files_under(folder or source, endings)]
    known = {path.as_posix(): parse(path) for path in paths}
    return [row | {"file": file} for file, row in known.items() if row], [
        file for file, row in known.items() if not row
    ]


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


def said(*problems: str) -> list[str]:
    """Those of some sentences that say something."""
    return [text for text in problems if text]
