"""What a record's features say: how tight classes lie, what of arousal and valence can be read off them, and where
accuracy falls with the strength of a feeling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from fercore import intervals
from fercore.errors import RecordError
from fercore.records import Record

LEVELS = (-1.0, -0.3, 0.0, 0.3, 0.6, 1.0)
"""Edges of the bands of arousal in which answers are counted."""


def of(record: Record) -> np.ndarray:
    """The features (N, n) of a record's test images: principal components, in the order of the test images."""
    arrays = record.arrays()
    if "features" not in arrays:
        what = f"{record.name} keeps no features."
        raise RecordError(what, do="train it again: runs of a paper that defines features keep them")
    return arrays["features"].astype(np.float64)


def spreads(features: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """How tight each class lies: a line a class with its ``images`` and its ``spread``.

    The spread is the mean squared distance of a class's images to their own mean, as a share of that of all images to
    the mean of all; 1 is as loose as everything together. features (N, n), labels (N,).
    """
    of_class = ((classes[k], features[labels == k]) for k in np.unique(labels))
    lines = [(name, len(own), own.var(0).sum() / features.var(0).sum()) for name, own in of_class]
    return pd.DataFrame(lines, columns=["class", "images", "spread"])


def spreads_of_runs(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """:func:`spreads` of several names, each the mean over its runs on the same images: a line a class, a column a
    name."""
    tables = {
        name: [spreads(of(run), run.arrays()["labels"], run.classes).set_index("class") for run in of_name]
        for name, of_name in runs.items()
    }
    means = {name: sum(own["spread"] for own in each) / len(each) for name, each in tables.items()}
    images = next(iter(tables.values()))[0]["images"]
    return pd.DataFrame({"images": images, **means}).reset_index()


class Read(NamedTuple):
    """A quantity as a linear model reads it off features of people it has not seen."""

    predicted: np.ndarray  # (N,)
    r2: float  # share of its variance that is found; 0 for the mean, below 0 for worse


def read_off(features: np.ndarray, values: np.ndarray, people: np.ndarray, folds: int = 5) -> Read:
    """Predict ``values`` (N,) from features (N, n) by least squares, each fold of people by the others."""
    split = GroupKFold(min(folds, len(np.unique(people))))
    predicted = cross_val_predict(LinearRegression(), features, values, groups=people, cv=split)
    return Read(predicted, float(r2_score(values, predicted)))


def affect(record: Record) -> dict[str, Read]:
    """Arousal and valence of a twin's test images, read off the record's features."""
    arrays = record.arrays()
    if "known_arousal" not in arrays:
        raise RecordError(f"{record.name} does not know arousal.", do="choose a record of a twin")
    known = {name: arrays[f"known_{name}"].astype(float) for name in ("valence", "arousal")}
    return {name: read_off(of(record), values, arrays["subjects"]) for name, values in known.items()}


def by_arousal(runs: Mapping[str, Sequence[Record]], edges: Sequence[float] = LEVELS) -> pd.DataFrame:
    """Accuracy in per cent by the arousal that the rendered faces show: a line a name and band that has images.

    An image counts by the share of a name's runs that have it right; the interval is over people.
    Columns name, low edge, high edge, images, accuracy, low, high.
    """
    lines = []
    for name, of_name in runs.items():
        arrays = [run.arrays() for run in of_name]
        right = np.mean([a["probabilities"].argmax(1) == a["labels"] for a in arrays], axis=0)
        arousal = arrays[0]["known_arousal"].astype(float)
        for low, high in pairwise(edges):
            chosen = (arousal >= low) & ((arousal < high) | (high == edges[-1]))
            if chosen.sum() > 1:
                interval = intervals.mean(right[chosen], arrays[0]["subjects"][chosen])
                lines.append((name, low, high, int(chosen.sum()), *(100 * end for end in interval)))
    return pd.DataFrame(lines, columns=["name", "from", "to", "images", "accuracy", "low", "high"])
