"""A blind check: can a reader name the expressions of a data set's faces?

A folder is made with a page that shows faces one by one and takes a label for each (``faces.html``, which needs
nothing but a browser), the same faces as numbered sheets, and the key. Answers, from the page or typed into a file,
are scored against the key. Faces come from the test part of a twin, or of a real set that is at hand, at the size at
which they are to be read.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

from fercore.data import catalogue, twin_designs, twins
from fercore.errors import DataError, ParameterError
from fercore.heads import EXPRESSIONS

SHEET = (8, 5)
"""Columns and rows of a numbered sheet."""
SHOWN = 240
"""About the side in pixels at which page and sheets show a face: a whole multiple of its own."""


class Faces(NamedTuple):
    """Faces (N, S, S, 3) uint8 of a data set's test part, and the label of each."""

    images: np.ndarray
    expressions: tuple[str, ...]
    classes: tuple[str, ...]


class Agreement(NamedTuple):
    """How often answers name the label; the ends of Wilson's 95 % interval; counts, rows are the truth."""

    share: float
    low: float
    high: float
    confusion: pd.DataFrame


def draw(dataset: str, number: int = 80, *, size: int = 48, seed: int = 0) -> Faces:
    """``number`` faces of a data set's test part (of all its rows, if it has no parts), drawn by a seed.

    dataset: a twin, whose faces are rendered at ``size`` pixels with the parameters of preset paper, or a real set
    that is at hand, whose images are reduced to it. Classes come as often as in that part. Raises ParameterError for
    impossible numbers, DataError where a real set is missing.
    """
    if number < 1 or not 16 <= size <= 1024:
        raise ParameterError(f"{number} faces of {size} pixels can't be drawn", do="give 1 or more, of 16..1024 pixels")
    twin = twin_designs.parameters(dataset, "paper", size=size) if dataset in twin_designs.DESIGNS else None
    data = None if twin else catalogue.prepare(dataset)
    chosen = _chosen(twin_designs.rows(twin) if twin else data.manifest, dataset, number, size, seed)
    images = (
        twins.render_rows(twin, chosen)[0] if twin else np.stack([_reduced(data.images[k], size) for k in chosen.index])
    )
    return Faces(images, tuple(chosen["expression"]), twin.expressions if twin else tuple(data.classes))


def _chosen(rows: pd.DataFrame, dataset: str, number: int, size: int, seed: int) -> pd.DataFrame:
    tested = rows[rows["split"].isin(["test", "all"])]
    tested = tested if len(tested) else rows[rows["split"] == "validation"]
    if number > len(tested):
        raise ParameterError(f"{number} faces of the {len(tested)} of {dataset}", do=f"give 1..{len(tested)}")
    return tested.sample(number, random_state=np.random.default_rng([seed, size]))  # each size shows other faces


def _reduced(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("RGB").resize((size, size), Image.Resampling.BOX))


def is_of_this_twin(folder: Path, seed: int = 1) -> bool:
    """Whether the labels of the faces that were read, ``NAME-SIZE``, are those that the twin's design of now gives."""
    name, _, size = folder.name.rpartition("-")
    key = _read(folder / "key.csv", ["face", "expression"])["expression"].tolist()
    rows = twin_designs.rows(twin_designs.parameters(name, "paper", size=int(size)))
    return _chosen(rows, name, len(key), int(size), seed)["expression"].tolist() == key


def checks(root: Path) -> pd.DataFrame:
    """One row per folder ``NAME-SIZE`` of answers and key under ``root``: data set, size, faces, agreement in per cent
    with its 95 % interval, what was mistaken most often."""
    rows = []
    for folder in sorted(root.iterdir()):
        dataset, _, size = folder.name.rpartition("-")
        found = score(folder / "answers.csv", folder / "key.csv")
        wrong = found.confusion.mask(np.eye(len(found.confusion), dtype=bool)).stack()
        percent = (100 * value for value in found[:3])
        rows.append((dataset, int(size), int(found.confusion.to_numpy().sum()), *percent, " as ".join(wrong.idxmax())))
    columns = ["data set", "size", "faces", "agreement", "low", "high", "most often mistaken"]
    return pd.DataFrame(rows, columns=columns)


def ranges(table: pd.DataFrame) -> dict[str, float]:
    """Of :func:`checks`, the least and the greatest agreement on twins: ``least``, ``most`` above 48 pixels,
    ``small_least``, ``small_most`` at 48."""
    twins_alone = table[table["data set"].str.endswith("-twin")]
    ends = twins_alone.groupby(twins_alone["size"] == 48)["agreement"].agg(["min", "max"])
    (least, most), (small_least, small_most) = ends.to_numpy().tolist()
    return {"least": least, "most": most, "small_least": small_least, "small_most": small_most}


def write(folder: Path, faces: Faces) -> Path:
    """Write page, sheets and key into a new ``folder``; returns the page. An existing folder is left alone."""
    if folder.exists():
        raise DataError(f"{folder} is there already.", do="name a new folder: answers to other faces may lie in it")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    aside.mkdir(parents=True)
    columns, rows = SHEET
    for start in range(0, len(faces.images), columns * rows):
        shown = [_enlarged(image) for image in faces.images[start : start + columns * rows]]
        sheet = _sheet(shown, start + 1, columns)
        sheet.save(aside / f"sheet_{start // (columns * rows) + 1}.png")
    numbers = range(1, len(faces.images) + 1)
    pd.DataFrame({"face": numbers, "expression": faces.expressions}).to_csv(aside / "key.csv", index=False)
    (aside / "faces.html").write_text(_page(faces), encoding="utf-8")
    os.replace(aside, folder)
    return folder / "faces.html"


def score(answers: Path, key: Path) -> Agreement:
    """Hold a csv with the columns ``face`` and ``answer`` against the key; faces without an answer do not count."""
    given, truth = _read(answers, ["face", "answer"]), _read(key, ["face", "expression"])
    joined = given.dropna().merge(truth, on="face")
    if joined.empty:
        raise DataError(f"{answers} answers none of the faces of {key}.", do="number the answers as the faces are")
    if given["face"].duplicated().any() or len(joined) < len(given.dropna()):
        what = f"{answers} answers a face twice, or one that {key} does not know."
        raise DataError(what, do="give one line to each face")
    unknown = sorted(set(joined["answer"]) - set(EXPRESSIONS))
    if unknown:
        raise DataError(f"{answers} holds '{unknown[0]}'.", do=f"answer with one of: {', '.join(EXPRESSIONS)}")
    names = sorted({*truth["expression"], *joined["answer"]})
    right = int((joined["answer"] == joined["expression"]).sum())
    interval = stats.binomtest(right, len(joined)).proportion_ci(method="wilson")
    counts = pd.crosstab(joined["expression"], joined["answer"]).reindex(index=names, columns=names, fill_value=0)
    return Agreement(right / len(joined), float(interval.low), float(interval.high), counts)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as csv: {error}", do=f"write the columns {', '.join(columns)}") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(f"{path} has no column '{missing[0]}'.", do=f"write the columns {', '.join(columns)}")
    return table[columns]


def _enlarged(image: np.ndarray) -> Image.Image:
    """The face at about `SHOWN` pixels."""
    side = len(image) * max(1, round(SHOWN / len(image)))
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


def _sheet(images: Sequence[Image.Image], first: int, columns: int) -> Image.Image:
    """Faces in rows, each under its number."""
    size, band = images[0].width, 22
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + band)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for place, image in enumerate(images):
        x, y = place % columns * size, place // columns * (size + band)
        pen.text((x + 4, y + 2), str(first + place), "black", font)
        sheet.paste(image, (x, y + band))
    return sheet


def _jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    _enlarged(image).save(file, "JPEG", quality=92)
    return base64.b64encode(file.getvalue()).decode()


def _page(faces: Faces) -> str:
    """One self-contained page: a face, a button and a key for each class, at the end the agreement and the answers."""
    names = sorted(faces.classes)
    hidden = base64.b64encode(json.dumps([names.index(name) for name in faces.expressions]).encode()).decode()
    buttons = "".join(f'<button onclick="take({k})">{k + 1} {html.escape(n)}</button>' for k, n in enumerate(names))
    pictures = json.dumps([_jpeg(image) for image in faces.images])
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return page.safe_substitute(buttons=buttons, names=json.dumps(names), hidden=hidden, pictures=pictures)
