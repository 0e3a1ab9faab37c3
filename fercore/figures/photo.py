"""A photograph of nobody: rendered people in one picture, and how well a detector finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fercore import intervals, predict
from fercore.data import faces
from fercore.figures import OURS, degrees, image_grid, told
from fercore.heads import EXPRESSIONS, Head, face_centre, render, sample_background, sample_light, sample_person
from fercore.predict import Seen

FACE = 19.5
"""Centimetres that a network's square shows."""
WIDE = 34.0
"""Centimetres that a picture shows in which a face is to be found."""
PEOPLE = ((715, -35.0, "happiness"), (722, 0.0, "surprise"), (712, 30.0, "anger"), (716, -65.0, "neutral"))
"""Who stands in the group picture: person, yaw in degrees, expression."""


class Posed(NamedTuple):
    """A picture of one person (S, S, 3), and the square in which the face truly is."""

    image: np.ndarray
    square: tuple[float, float, float]


def posed(person: int, yaw: float, side: int = 224) -> Posed:
    """One person in a light and before a background of their own, with room round the head."""
    rng = np.random.default_rng([person, int(yaw) + 90])
    light, behind = sample_light(rng), sample_background(side, rng)
    mesh = Head(sample_person(person), 0.5).mesh()
    image = render(mesh, yaw, size=side, field=WIDE, light=light, background=behind).image
    (x, y), (x0, y0), scale = face_centre(yaw, FACE), face_centre(yaw, WIDE), side / WIDE
    square = side / 2 + (x - x0 - FACE / 2) * scale, side / 2 - (y - y0 + FACE / 2) * scale, FACE * scale
    return Posed(image, square)


def group(side: int = 300, seed: int = 0) -> np.ndarray:
    """Four people side by side in one light before one wall: (side, 3.2 side, 3) uint8."""
    rng, step = np.random.default_rng(seed), round(0.74 * side)
    light, wide = sample_light(rng), side + round(0.74 * side) * (len(PEOPLE) - 1)
    wall = sample_background(wide, rng, "room")[(wide - side) // 2 :][:side]
    picture = (255 * wall**0.8).astype(np.uint8)
    for place, (person, yaw, shown) in enumerate(PEOPLE):
        mesh = Head(sample_person(person), 0.75).mesh(EXPRESSIONS[shown][0])
        drawn = render(mesh, yaw, size=side, field=31.0, light=light)
        part = picture[:, place * step : place * step + side]
        part[drawn.parts > 0] = drawn.image[drawn.parts > 0]
    return picture


def answered(picture: np.ndarray, found: Sequence[Seen], classes: Sequence[str]) -> Figure:
    """The picture with each face's square and the most probable class, and each face's probabilities below it."""
    found = sorted(found, key=lambda seen: seen.face.square[0])
    figure, (top, below) = plt.subplots(2, 1, figsize=(8, 5.2), height_ratios=(2.4, 1.3))
    top.imshow(predict.draw(picture, found))
    top.set_axis_off()
    table = pd.DataFrame({f"face {k + 1}": seen.probabilities for k, seen in enumerate(found)}, index=list(classes))
    table.T.plot.barh(stacked=True, width=0.8, ax=below, xlim=(0, 1), xlabel="probability")
    below.invert_yaxis()
    below.legend(ncols=4, fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    figure.tight_layout()
    return told(figure, table)


def cuts(person: int, yaws: Sequence[float], detector: faces.Detector, size: int = 96) -> Figure:
    """Above the square that a twin would show of a person at each yaw, below it the one that a detector found."""
    rows: list[list[np.ndarray | None]] = [[], []]
    for image, square in (posed(person, yaw) for yaw in yaws):
        found = faces.largest(detector(image))
        rows[0].append(faces.cut(image, faces.Face(square, 1.0), size))
        rows[1].append(None if found is None else faces.cut(image, found, size))
    return image_grid(rows, ["as rendered", "as found"], list(map(degrees, yaws)))


def found_by_yaw(people: Sequence[int], yaws: Sequence[float], detector: faces.Detector) -> pd.DataFrame:
    """One row a yaw: per cent of the people whose face is found (half of both squares' union shared) with a 95 %
    interval, and how much is shared then, the median in per cent."""
    rows = []
    for yaw in yaws:
        pictures = [posed(person, yaw) for person in people]
        shared = [max((faces.overlap(f.square, p.square) for f in detector(p.image)), default=0.0) for p in pictures]
        hit = np.array(shared) > 0.5
        median = np.median(np.array(shared)[hit]) if hit.any() else np.nan
        rows.append((yaw, *(100 * value for value in (*intervals.mean(hit), median))))
    return pd.DataFrame(rows, columns=["yaw", "found", "low", "high", "shared"])


def detection(table: pd.DataFrame) -> Axes:
    """A :func:`found_by_yaw` as a line with its interval."""
    _, axes = plt.subplots(figsize=(6.4, 2.8))
    axes.fill_between(table["yaw"], table["low"], table["high"], color=OURS, alpha=0.15)
    axes.plot(table["yaw"], table["found"], "o-", color=OURS)
    axes.set(xlabel="yaw, degrees", ylabel="faces found, %", ylim=(0, 104), xticks=table["yaw"])
    return told(axes, table)
