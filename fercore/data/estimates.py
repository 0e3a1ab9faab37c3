"""What networks say of pictures whose set does not: how heads are turned, and whose faces they are.

A table of estimates is a CSV file with a line an image: ``sample``, ``yaw`` (degrees) and ``group``: images of one
group are taken to show one person. It is no truth: how often such estimates are wrong is measured on rendered people,
where the truth is known (:mod:`fercore.studies.guesses`). A table is called after its set, the preset of the networks
that were asked and its own hash, ``ferplus-quick-3f2a9c01``, so that a recipe that names it says all it depends on.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fercore.data.prepared import Prepared
from fercore.errors import DataError
from fercore.paths import prepared_root, reference_records

FOLDER = "estimates"
"""Below the prepared sets for own tables, below the committed records for those that come with the book."""
TYPES = {"sample": str, "yaw": float, "group": int}
COLUMNS = [*TYPES]
"""A group below 0 and an empty yaw say that nothing is known."""


def _path(name: str) -> Path:
    """Where a table lies: among one's own, else among the book's; that of one's own where it is in neither."""
    own, shipped = (root / FOLDER / f"{name}.csv.gz" for root in (prepared_root(), reference_records()))
    return shipped if shipped.is_file() and not own.is_file() else own


@cache
def read(name: str) -> pd.DataFrame:
    """A table of estimates by sample. One that is not there, is broken or is not what its name says is an error."""
    path = _path(name)
    if not path.is_file():
        what = f"There are no estimates '{name}': {path} is missing."
        raise DataError(what, do="make some, and take their name: fercore data estimate DATASET")
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values={"yaw": [""]}, dtype=TYPES)[COLUMNS]
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise DataError(f"{path} can't be read as estimates: {error}", do="make them again, or restore it") from error
    if not name.endswith(_digest(table)):
        raise DataError(f"{path} does not hold what its name says.", do="make them again, or restore it")
    return table.set_index("sample")


def about(name: str) -> dict[str, Any]:
    """How estimates were made and how good they are, as :func:`write` was told."""
    path = _path(name)
    try:
        return json.loads(path.with_name(f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"What is known of the estimates {name} can't be read: {error}", do="make them again"
        ) from error


def write(table: pd.DataFrame, dataset: str, preset: str, quality: dict[str, Any]) -> str:
    """Keep estimates and, beside them as JSON, how they were made and how good they are; returns their name."""
    try:
        table = table[COLUMNS].astype(TYPES)
    except (KeyError, ValueError) as error:
        raise DataError(f"This is no table of estimates: {error}", do=f"give {', '.join(COLUMNS)}") from error
    if (table["yaw"].abs() > 180).any():
        raise DataError("A table of estimates has a yaw beyond 180 degrees.", do="leave it empty where it is not known")
    table = table.assign(yaw=table["yaw"].round(1) + 0.0)  # no -0.0, which is written like 0.0 and is another number
    if table["sample"].duplicated().any():
        raise DataError("A table of estimates names a sample twice.", do="give one line for each image")
    name = f"{dataset}-{preset}-{_digest(table)}"
    path = prepared_root() / FOLDER / f"{name}.csv.gz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        table.to_csv(aside, index=False, lineterminator="\n", compression={"method": "gzip", "mtime": 1})
        aside.replace(path)
        path.with_name(f"{name}.json").write_text(json.dumps(quality, indent=1) + "\n")
    except OSError as error:
        raise DataError(f"{path} can't be written: {error}", do="set FERCORE_PREPARED to your own folder") from error
    return name


def about_set(name: str) -> str:
    """The data set whose images a table of this name is about."""
    return name.rsplit("-", 2)[0]


def _digest(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False, float_format="%.1f").encode()).hexdigest()[:8]


def turned(data: Prepared) -> pd.Series:
    """How a head is turned on each image, degrees: its camera's pan, else its yaw; not a number where nobody knows."""
    known = [data.manifest[name].astype(float) for name in ("pan", "yaw") if name in data.manifest]
    return known[0].fillna(known[-1]) if known else pd.Series(np.nan, data.manifest.index)


def completed(data: Prepared, name: str) -> Prepared:
    """The same images, yaw and person as estimated where the set does not know them; what is known stays.

    A table that knows none of its images is an error; one that lacks some leaves these unknown.
    """
    table = read(name).reindex(data.manifest["sample"])
    yaw = turned(data)
    if (data.manifest["subject"] != "").all() and yaw.notna().all():
        raise DataError(f"{data.name} knows all poses and persons, so estimates change nothing.", do="leave them out")
    if table.isna().all(axis=None):
        do = f"take those of this set: fercore data estimate {data.name}"
        raise DataError(f"The estimates {name} know no image of {data.name}.", do=do)
    person = np.where(
        table["group"].isna() | (table["group"] < 0), "", "group " + table["group"].fillna(-1).astype(int).astype(str)
    )
    subject = data.manifest["subject"].to_numpy()
    angles = np.where(yaw.isna(), table["yaw"].to_numpy(), yaw)
    manifest = data.manifest.assign(subject=np.where(subject == "", person, subject), yaw=angles)
    return replace(data, manifest=manifest)
