"""Expression names and their orders, as the data sets and papers use them; labels that have a side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The eight expressions in FERPlus's column order, which this book uses throughout."""

SEVEN = EXPRESSIONS[:7]
"""Without contempt: KDEF, RAF-DB, SFEW."""


class Truth(NamedTuple):
    """What is known of each image beside its expression, and what is true of its mirror image.

    ``values`` (N, ...); ``mirrored`` (N, ...) the same of the mirror image, None where a mirror changes nothing. Where
    they are the classes of a head, ``classes`` names them and ``opposite`` says which class each becomes in a mirror.
    """

    values: np.ndarray
    mirrored: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    opposite: tuple[int, ...] = ()


def of_classes(values: np.ndarray, classes: Sequence[str], opposite: Sequence[int] = ()) -> Truth:
    """Labels of a head: values (N,) class numbers, -1 where an image has none."""
    values = np.asarray(values, np.int64)
    turned = np.where(values < 0, values, np.asarray(opposite, np.int64)[values]) if len(opposite) else None
    return Truth(values, turned, tuple(classes), tuple(opposite))


def pose_classes(yaw: np.ndarray, angles: Sequence[float]) -> Truth:
    """The class of each head's yaw (N,), degrees: the nearest of ``angles``, which must lie alike on both sides; none,
    -1, where the yaw is not known.

    In a mirror a head that is turned by +45 degrees is turned by -45: its class is exchanged for the opposite one.
    """
    known = np.asarray(sorted(angles), float)
    if not np.allclose(known, -known[::-1]):
        raise ValueError(f"pose classes {angles} are not the same on both sides: a mirror image would have none")
    yaw = np.asarray(yaw, float)
    nearest = np.where(np.isnan(yaw), -1, np.abs(yaw[:, None] - known).argmin(1))
    return of_classes(nearest, [f"{angle:+g}°" if angle else "0°" for angle in known], range(len(known))[::-1])
