"""Expression names and their orders, as the data sets and papers use them."""

from __future__ import annotations

EXPRESSIONS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""The eight expressions in FERPlus's column order, which this book uses throughout."""

SEVEN = EXPRESSIONS[:7]
"""Without contempt: KDEF, RAF-DB, SFEW."""


def class_index(classes: tuple[str, ...] | list[str]) -> dict[str, int]:
    """Class name -> index in ``classes``."""
    return {name: index for index, name in enumerate(classes)}
