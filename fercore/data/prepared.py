"""The prepared form: one way on disk for every data set, rendered or real.

A prepared data set is a folder with three files::

    images.npy        (N, H, W, 3) uint8, read through a memory map
    manifest.parquet  one row per image, in the same order
    card.json         what it is, class order, counts, licence, how made, hash

Everything downstream reads only this. A folder appears under its final name when it is complete, never before: it is
written beside it and renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from fercore.errors import DataError

FORMAT = 1
REQUIRED = ("sample", "subject", "expression", "split", "source")
"""Columns every manifest has. ``expression`` is a class name; ``subject`` is "" where nobody knows."""
OPTIONAL = ("intensity", "yaw", "pitch", "roll")
"""Numeric columns (degrees for the pose) that exist everywhere and hold NaN where unknown."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, opened for reading: ``images`` (N, H, W, 3) uint8, a read-only memory map, the ``manifest``
    with N rows, and the data card."""

    path: Path
    images: np.ndarray = field(repr=False)
    manifest: pd.DataFrame = field(repr=False)
    card: dict[str, Any] = field(repr=False)
    by: str = "expression"
    """What is asked of an image: its ``expression`` or its ``subject`` (:meth:`of_people`)."""

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def classes(self) -> tuple[str, ...]:
        if self.by == "subject":
            return tuple(sorted(self.manifest["subject"][self.manifest["split"] != "test"].unique()))
        return tuple(self.card["classes"])

    def of_people(self) -> Prepared:
        """The same images, each person a class who is not in the split ``test``; those of that split have the label -1.
        An error where nobody knows who is shown."""
        if (self.manifest["subject"] == "").any():
            raise DataError(f"{self.path} does not say who is on each image.", do="take a set that does: identity-twin")
        return replace(self, by="subject")

    def leaving_out(self, expression: str) -> Prepared:
        """The same images with one class less, an error if there is none of that name; its images have the label -1 and
        no votes."""
        if expression not in self.card["classes"]:
            there = ", ".join(self.card["classes"])
            raise DataError(f"{self.path} has no class {expression!r} to leave out.", do=f"take one of: {there}")
        return replace(self, card=self.card | {"classes": [c for c in self.card["classes"] if c != expression]})

    @property
    def hash(self) -> str:
        """SHA-256 over pixels and manifest; 16 hexadecimal digits."""
        return self.card["hash"]

    def labels(self) -> np.ndarray:
        """(N,) int64: index of each row's expression, or person, in :attr:`classes`."""
        return pd.Categorical(self.manifest[self.by], categories=self.classes).codes.astype(np.int64)

    def landmarks(self) -> np.ndarray:
        """(N, 68, 2) float32: x and y of each landmark as shares of the image's side, from its upper left corner; an
        error where nobody knows."""
        if "landmarks" not in self.manifest:
            raise DataError(f"{self.path} does not say where landmarks are.", do="take a set that does: landmark-twin")
        pixels = np.stack(self.manifest["landmarks"].to_numpy()).reshape(len(self), -1, 2)
        return (pixels / self.images.shape[1]).astype(np.float32)

    def votes(self) -> np.ndarray:
        """(N, classes) float32: the shares of the raters' votes among the classes; columns ``votes_CLASS``."""
        columns = [f"votes_{name}" for name in self.classes]
        lost = [name for name in columns if name not in self.manifest]
        if lost:
            what = f"{self.path}/manifest.parquet has no column {', '.join(lost)}."
            raise DataError(what, do="set targets to labels")
        votes = self.manifest[columns].to_numpy(np.float32)
        total, asked = votes.sum(1, keepdims=True), self.labels() >= 0
        silent = int((total[asked] <= 0).sum())
        if silent:
            raise DataError(f"{self.path}: {silent} images have no vote for any class.")
        return np.divide(votes, total, out=np.zeros_like(votes), where=asked[:, None])


def open_prepared(path: str | os.PathLike[str]) -> Prepared:
    """Open a prepared folder and check that its three files belong together; what does not is a DataError."""
    path = Path(path)

    def refuse(what: str) -> NoReturn:
        raise DataError(f"{path}{what}", do="prepare it again (fercore data prepare NAME), or name another folder")

    if not path.is_dir():
        refuse(" is not a folder.")
    missing = [name for name in ("images.npy", "manifest.parquet", "card.json") if not (path / name).is_file()]
    if missing:
        refuse(f" is no prepared data set: it has no {', '.join(missing)}.")
    try:
        card = json.loads((path / "card.json").read_text())
        manifest = pd.read_parquet(path / "manifest.parquet")
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
    except Exception as error:
        refuse(f" can't be read: {error}")
    if not isinstance(card, dict) or not {"name", "title", "classes", "made", "notes", "hash"} <= card.keys():
        refuse("/card.json is no data card: name, classes, hash or more are missing.")
    if card.get("format") != FORMAT:
        refuse(f" has format {card.get('format')!r}, this version reads {FORMAT}.")
    lost = [name for name in REQUIRED if name not in manifest]
    if lost:
        refuse(f"/manifest.parquet has no column {', '.join(lost)}.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != len(manifest):
        found = f"images {images.shape} {images.dtype} do not fit {len(manifest)} manifest rows"
        refuse(f": {found}; expected (N, H, W, 3) uint8.")
    strange = sorted(set(manifest["expression"]) - set(card["classes"]))
    if strange:
        refuse(f": the manifest has expressions that the card does not list: {strange}.")
    return Prepared(path, images, manifest, card)


def content_hash(images: np.ndarray, manifest: pd.DataFrame) -> str:
    """Hash of pixels and manifest, the same on every machine; 16 hexadecimal digits."""
    digest = hashlib.sha256(str(images.shape).encode())
    for start in range(0, len(images), 512):
        digest.update(np.ascontiguousarray(images[start : start + 512]))
    digest.update(manifest.to_csv(index=False, float_format="%.6g").encode())
    return digest.hexdigest()[:16]


class Writer:
    """Write a prepared data set aside and give it its name when it is complete.

    ::

        with Writer(path, count=4900, size=64) as out:
            out.images[:] = ...                      # a memory map, any order
            out.finish(manifest, name=..., title=..., classes=..., ...)

    The space is claimed at the start, so that a full disk is an error then and not a crash in the middle. Leaving the
    block without :meth:`finish`, or by an exception, removes what was written and keeps what was there before.
    """

    def __init__(self, path: str | os.PathLike[str], count: int, size: int) -> None:
        self.path = Path(path)
        self.shape = (count, size, size, 3)
        if count <= 0:
            raise DataError(f"{self.path.name}: there is no image to write.", do="check the source and its labels")

    def __enter__(self) -> Writer:
        self._aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        shutil.rmtree(self._aside, ignore_errors=True)
        self._finished = False
        try:
            self._aside.mkdir(parents=True)
            path = self._aside / "images.npy"
            self.images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=self.shape)
            if hasattr(os, "posix_fallocate"):
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            shutil.rmtree(self._aside, ignore_errors=True)
            raise self.disk_error(error) from error
        return self

    def finish(
        self,
        manifest: pd.DataFrame,
        *,
        name: str,
        title: str,
        classes: Sequence[str],
        licence: str,
        made: dict[str, Any],
        notes: Sequence[str] = (),
        counts: dict[str, Any] | None = None,
    ) -> None:
        """Write manifest and card. ``made`` says how: parameters, source, versions."""
        if len(manifest) != self.shape[0]:
            raise ValueError(f"manifest of {len(manifest)} rows for {self.shape[0]} images")
        manifest = manifest.reset_index(drop=True)
        manifest = manifest.assign(**{column: np.nan for column in OPTIONAL if column not in manifest})
        try:
            self.images.flush()
            manifest.to_parquet(self._aside / "manifest.parquet", index=False)
            table = pd.crosstab(manifest["split"], manifest["expression"])
            card = {
                "format": FORMAT,
                "name": name,
                "title": title,
                "classes": list(classes),
                "licence": licence,
                "images": len(manifest),
                "size": self.shape[1],
                "splits": table.to_dict("index"),
                "counts": counts or {},
                "notes": list(notes),
                "made": made,
                "hash": content_hash(self.images, manifest),
            }
            (self._aside / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise self.disk_error(error) from error
        self._finished = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.images = None  # close the map before the folder moves
        if kind is None and self._finished:
            old = self._aside.with_suffix(".old")
            if self.path.exists():
                os.replace(self.path, old)
            os.replace(self._aside, self.path)
            shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self._aside, ignore_errors=True)

    def disk_error(self, error: OSError) -> DataError:
        """What to raise for an error of the disk: a full one is told apart."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = int(np.prod(self.shape)) / 2**20
            return DataError(
                f"No space left on the disk of {self.path.parent} ({need:.0f} MiB are needed); nothing was kept.",
                do="free some space, or set FERCORE_PREPARED to a folder on another disk",
            )
        return DataError(f"{self.path.parent} can't be written: {error}.", do="set FERCORE_PREPARED to your own folder")
