"""A blind check: can a person name the expressions of the rendered faces?

A folder is made with a page that shows faces one by one and takes a label for each (``faces.html``, which needs
nothing but a browser), the same faces as numbered sheets, and the key. Answers, from the page or typed into a file,
are scored against the key.
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

from fercore.data.labels import SEVEN
from fercore.errors import DataError, ParameterError
from fercore.heads import EXPRESSIONS, Head, level_of_detail, personal_style, render, sample_expression, sample_person

FULL = 4
"""The level that is shown: expressions at full strength."""
SHEET = (8, 5)
"""Columns and rows of a numbered sheet."""


class Faces(NamedTuple):
    """Frontal faces (N, S, S, 3) uint8 at full strength, one person each, and what each shows."""

    images: np.ndarray
    expressions: tuple[str, ...]


class Agreement(NamedTuple):
    """How often answers name what was rendered; the ends of Wilson's 95 % interval; counts, rows are the truth."""

    share: float
    low: float
    high: float
    confusion: pd.DataFrame


def draw(number: int = 200, *, seed: int = 0, size: int = 224, expressions: Sequence[str] = SEVEN) -> Faces:
    """``number`` people by a seed, each with one expression as the twins draw it; every class equally often.

    Nothing but the expression differs from a passport picture: frontal, lit evenly, before a plain ground.
    """
    if number < 1:
        raise ParameterError(f"{number} faces can't be drawn", do="give 1 or more")
    strange = [name for name in expressions if name not in EXPRESSIONS]
    if strange or not expressions:
        raise ParameterError(f"no faces show {strange or 'nothing'}", do=f"choose from {', '.join(EXPRESSIONS)}")
    rng = np.random.default_rng([seed, 2002])
    shown = rng.permutation([expressions[k % len(expressions)] for k in range(number)])
    images = np.empty((number, size, size, 3), np.uint8)
    for image, name, person_seed in zip(images, shown, rng.choice(2**31, number, replace=False), strict=True):
        person = sample_person(int(person_seed))
        units = sample_expression(name, FULL, rng, style=personal_style(person.seed))
        image[:] = render(Head(person, level_of_detail(size)).mesh(units), size=size).image
    return Faces(images, tuple(map(str, shown)))


def write(folder: Path, faces: Faces) -> Path:
    """Write page, sheets and key into a new ``folder``; returns the page. An existing folder is left alone."""
    if folder.exists():
        raise DataError(f"{folder} is there already.", do="name a new folder: answers to other faces may lie in it")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    aside.mkdir(parents=True)
    columns, rows = SHEET
    for start in range(0, len(faces.images), columns * rows):
        sheet = _sheet(faces.images[start : start + columns * rows], start + 1, columns)
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
    names = list(dict.fromkeys(truth["expression"].sort_values()))
    unknown = sorted(set(joined["answer"]) - set(names))
    if unknown:
        raise DataError(f"{answers} holds '{unknown[0]}'.", do=f"answer with one of: {', '.join(names)}")
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


def _sheet(images: np.ndarray, first: int, columns: int) -> Image.Image:
    """Faces in rows, each under its number."""
    size, band = images.shape[1], 22
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + band)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for place, image in enumerate(images):
        x, y = place % columns * size, place // columns * (size + band)
        pen.text((x + 4, y + 2), str(first + place), "black", font)
        sheet.paste(Image.fromarray(image), (x, y + band))
    return sheet


def _jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=92)
    return base64.b64encode(file.getvalue()).decode()


def _page(faces: Faces) -> str:
    """One self-contained page: a face, a button and a key for each class, at the end the agreement and the answers."""
    names = list(dict.fromkeys(sorted(faces.expressions)))
    hidden = base64.b64encode(json.dumps([names.index(name) for name in faces.expressions]).encode()).decode()
    buttons = "".join(f'<button onclick="take({k})">{k + 1} {html.escape(n)}</button>' for k, n in enumerate(names))
    pictures = json.dumps([_jpeg(image) for image in faces.images])
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return page.safe_substitute(buttons=buttons, names=json.dumps(names), hidden=hidden, pictures=pictures)
