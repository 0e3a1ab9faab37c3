"""Records: what a training run leaves behind, and the only source of the book's numbers.

A record is a folder with ``record.json`` and ``arrays.npz``. Its name is made from recipe, data hash and code hash, so
an equal run finds it and an unequal one can't be mistaken for it. Checksums over both files tell a changed number. It
holds predictions and numbers, never a picture.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from fercore import provenance
from fercore.errors import RecordError
from fercore.paths import records_root, reference_records

FORMAT = 2
"""Format of the records written here; 1, without checksums and weights, is still read."""
PROOFS = "unchanged.csv"
"""Beside the records: which later code does the same, a line a step from one code to another."""
AGAIN = "delete that folder and run the training again"


_YOUNGER = {"start": "", "oversample": False, "leave_out": "", "setting": "ours"} | {
    "schedule": "cosine", "decay": 0.1, "decay_epochs": 30, "trunk": "resnet18",
}  # fmt: skip
"""Fields of recipes that older records lack, and what stands for them: what every run did before they came."""


class DataNote(BaseModel):
    """The data set that a run used: name, content hash, how it was made, images per subset."""

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    real: bool
    hash: str
    made: dict[str, Any]
    images: dict[str, int]


class WeightsNote(BaseModel):
    """The state of a network: a hash of its bits, and the norm, which tells rounding from another start."""

    model_config = ConfigDict(extra="forbid")
    hash: str
    norm: float


class Record(BaseModel):
    """``record.json``, validated. ``metrics`` holds the final numbers, one entry a subset of the test data.

    ``further`` names data sets that took part besides ``data``: of the first stage, of a further test; ``stages`` has
    the metrics of the stages that the run started from, ``heads`` the class names of heads besides the expression's.
    ``history`` has the rows of each stage, ``weights`` what each stage started from (``backbone``, ``method``) and what
    came out (``final``), ``starts`` the hashes of weights from elsewhere by the part that they filled.
    """

    model_config = ConfigDict(extra="forbid")
    format: int = FORMAT
    key: str
    recipe: dict[str, Any]
    classes: list[str]
    data: DataNote
    further: dict[str, DataNote] = {}
    code: str
    metrics: dict[str, dict[str, Any]]
    stages: dict[str, dict[str, dict[str, Any]]] = {}
    heads: dict[str, list[str]] = {}
    history: dict[str, list[dict[str, float]]]
    weights: dict[str, WeightsNote] = {}
    starts: dict[str, str] = {}
    model: dict[str, Any]
    seconds: float
    peak_memory: int
    started: str
    command: str
    versions: dict[str, str]
    machine: dict[str, Any]
    commit: dict[str, Any]
    arrays_hash: str = ""
    checksum: str = ""

    _folder: Path | None = None
    _written: dict[str, Any] | None = None
    _arrays: dict[str, np.ndarray] | None = None

    @property
    def folder(self) -> Path:
        """Where the record lies."""
        assert self._folder is not None
        return self._folder

    @property
    def name(self) -> str:
        return name_of(self.recipe, self.key)

    @property
    def written(self) -> dict[str, Any]:
        """The recipe's fields that there were when the record was written."""
        return self._written or self.recipe

    @property
    def group(self) -> str:
        """See :func:`group_of`."""
        return group_of(self.command)

    def arrays(self) -> dict[str, np.ndarray]:
        """``arrays.npz`` as a dictionary, read and checked once; nothing pickled is read."""
        if self._arrays is not None:
            return dict(self._arrays)
        try:
            with np.load(self.folder / "arrays.npz", allow_pickle=False) as file:
                arrays = dict(file)
        except Exception as error:  # zip, zlib and numpy each raise their own
            raise RecordError(f"{self.folder}/arrays.npz can't be read: {error}", do=AGAIN) from error
        if self.format > 1 and _arrays_hash(arrays) != self.arrays_hash:
            raise RecordError(f"{self.folder}/arrays.npz is not what the run wrote: its checksum differs.", do=AGAIN)
        self._arrays = arrays
        return dict(arrays)


def name_of(recipe: Mapping[str, Any], key: str) -> str:
    """The folder's name of a record."""
    r = recipe
    return f"{r['paper']}-{r['method']}-{r['dataset']}-{r['preset']}-f{r['fold']}-s{r['seed']}-{key}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _checksum(content: Mapping[str, Any]) -> str:
    """Over every field of ``record.json`` but the checksum itself, however the text is laid out."""
    return _digest({name: value for name, value in content.items() if name != "checksum"})


def _arrays_hash(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


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
    record = record.model_copy(update={"arrays_hash": _arrays_hash(arrays)})
    record.checksum = _checksum(json.loads(record.model_dump_json()))
    for left in root.glob(f".{record.name}.*.partial"):  # of a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside = root / f".{record.name}.{os.getpid()}.partial"
    try:
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
    """Read one record; a missing, invalid or changed ``record.json`` is an error that names the field."""
    folder = Path(folder)
    try:
        text = (folder / "record.json").read_bytes()
    except OSError as error:
        raise RecordError(
            f"{folder} is no record: {error}", do="name a folder with record.json and arrays.npz"
        ) from error
    try:
        content = json.loads(text)
    except ValueError as error:  # also bytes that are no text
        raise RecordError(f"{folder}/record.json: Invalid JSON: {error}", do=AGAIN) from error
    written = content.get("format") if isinstance(content, dict) else None
    if written not in (1, FORMAT):
        what = f"{folder}/record.json has format {written!r}; this version of fercore reads 1 and {FORMAT}."
        raise RecordError(what, do="update fercore, or " + AGAIN)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RecordError(f"{folder}/record.json: {where}: {first['msg']}", do=AGAIN) from error
    if written > 1 and record.checksum != _checksum(content):
        raise RecordError(f"{folder}/record.json was changed after the run: its checksum differs.", do=AGAIN)
    record._folder, record._written = folder, record.recipe
    record.recipe = _YOUNGER | record.recipe
    return record


def find(root: Path | None = None, **recipe: Any) -> list[Record]:
    """The records under ``root`` (default: the committed reference records) whose recipe has these values.

    Sorted by name. ``find(paper="lan", dataset="ferplus", preset="quick")``.
    """
    files = sorted((root or reference_records()).glob("[!.]*/record.json"))
    every = [_read_once(file.parent, file.stat().st_mtime_ns) for file in files]
    return [record for record in every if recipe.items() <= record.recipe.items()]


@cache
def _read_once(folder: Path, _mtime: int) -> Record:
    return read(folder)


class Step(NamedTuple):
    """Code ``after`` does for a group of records (`Record.group`, or all of a paper) what ``before`` did."""

    scope: str
    before: str
    after: str


def steps(root: Path | None = None) -> list[Step]:
    """What is written down beside the records by :mod:`fercore.ledger.unchanged`."""
    file = (root or reference_records()) / PROOFS
    return _steps_in(file, file.stat().st_mtime_ns) if file.exists() else []


@cache
def _steps_in(file: Path, _mtime: int) -> list[Step]:
    with file.open(newline="") as lines:
        return [Step(**line) for line in csv.DictReader(lines)]


def group_of(command: str) -> str:
    """A command without what one proof for many may differ in: seed, fold, share; and without ``fercore train``."""
    return re.sub(r" --(?:seed \S+|set[ =](?:fold|share)=\S+)", "", command).removeprefix("fercore train ")


def same_code(group: str, code: str, known: Iterable[Step], *, earlier: bool = False) -> set[str]:
    """Every code that is known to do for a group what ``code`` did, itself included, step by step; or from which steps
    lead to it."""
    paper, found = group.partition(" ")[0], {code}
    edges = [(step.before, step.after) for step in known if step.scope in (paper, group)]
    edges = [edge[::-1] for edge in edges] if earlier else edges
    while more := {after for before, after in edges if before in found} - found:
        found |= more
    return found


def is_stale(group: str, code: str, root: Path | None = None) -> bool:
    """Whether ``code``, which made a record of the group, does not give what the code of now would give."""
    now = provenance.code_of(group.partition(" ")[0])
    return code != now and now not in same_code(group, code, steps(root))


def dump(record: Record) -> str:
    """The record as text, for a terminal."""
    return json.dumps(record.model_dump(exclude={"history"}), indent=1, ensure_ascii=False)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries and lists of them as dotted names and values: ``metrics.test.accuracy``, 0.9."""
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
