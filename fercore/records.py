"""Records: what a training run leaves behind, and the only source of the book's numbers.

A record is a folder with ``record.json`` and ``arrays.npz``. Its name is made
from recipe, data hash and code hash, so an equal run finds it and an unequal
one can't be mistaken for it. It holds predictions and numbers, never a picture.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from fercore.errors import RecordError
from fercore.paths import records_root, reference_records


class DataNote(BaseModel):
    """The data set that a run used: name, content hash, how it was made, images per subset."""

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    real: bool
    hash: str
    made: dict[str, Any]
    images: dict[str, int]


class Record(BaseModel):
    """``record.json``, validated. ``metrics`` holds the final numbers, one entry a subset of the test data."""

    model_config = ConfigDict(extra="forbid")
    format: int = 1
    key: str
    recipe: dict[str, Any]
    classes: list[str]
    data: DataNote
    code: str
    metrics: dict[str, dict[str, Any]]
    history: dict[str, list[dict[str, float]]]
    model: dict[str, Any]
    seconds: float
    peak_memory: int
    started: str
    command: str
    versions: dict[str, str]
    machine: dict[str, Any]
    commit: dict[str, Any]

    _folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the record lies."""
        assert self._folder is not None
        return self._folder

    @property
    def name(self) -> str:
        r = self.recipe
        return f"{r['paper']}-{r['method']}-{r['dataset']}-{r['preset']}-f{r['fold']}-s{r['seed']}-{self.key}"

    def arrays(self) -> dict[str, np.ndarray]:
        """``arrays.npz`` as a dictionary; nothing pickled is read."""
        try:
            with np.load(self.folder / "arrays.npz", allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # zip, zlib and numpy each raise their own
            raise RecordError(
                f"{self.folder}/arrays.npz can't be read: {error}", do="run the training again"
            ) from error


def write(
    record: Record,
    arrays: dict[str, np.ndarray],
    root: Path | None = None,
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> Record:
    """Write a record under ``root`` (default: the run's own store), aside first, then renamed.

    ``files``: further files of the record, such as weights; each function is
    called with the path to write. They appear with the record or not at all.
    """
    root = root or records_root()
    target = root / record.name
    aside = root / f".{record.name}.{os.getpid()}.partial"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "record.json").write_text(record.model_dump_json(indent=1) + "\n")
        np.savez_compressed(aside / "arrays.npz", **arrays)
        for name, save in (files or {}).items():
            save(aside / name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise RecordError(
            f"The record {target} can't be written: {error}", do="free some space or set FERCORE_RECORDS"
        ) from error
    record._folder = target
    return record


def read(folder: str | os.PathLike[str]) -> Record:
    """Read one record; a missing or invalid ``record.json`` is an error that names the field."""
    folder = Path(folder)
    try:
        record = Record.model_validate_json((folder / "record.json").read_text())
    except OSError as error:
        raise RecordError(
            f"{folder} is no record: {error}", do="name a folder with record.json and arrays.npz"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RecordError(
            f"{folder}/record.json: {where}: {first['msg']}", do="delete that folder and run the training again"
        ) from error
    record._folder = folder
    return record


def find(root: Path | None = None, **recipe: Any) -> list[Record]:
    """The records under ``root`` (default: the committed reference records) whose recipe has these values.

    Sorted by name. ``find(paper="lan", dataset="ferplus", preset="quick")``.
    """
    return [
        record
        for record in _walk(root or reference_records())
        if all(record.recipe.get(name) == value for name, value in recipe.items())
    ]


def _walk(root: Path) -> Iterator[Record]:
    for file in sorted(root.glob("*/record.json")):
        if not file.parent.name.startswith("."):
            yield read(file.parent)


def dump(record: Record) -> str:
    """The record as text, for a terminal."""
    return json.dumps(record.model_dump(exclude={"history"}), indent=1, ensure_ascii=False)
