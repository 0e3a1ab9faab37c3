"""From predictions to numbers: metrics, intervals, and whether two models differ.

scikit-learn and scipy do what they have; what is added here is the bootstrap
over subjects, because images of one person are no independent draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn import metrics

from fercore.errors import ParameterError


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def summary(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """Accuracy, balanced accuracy, macro-F1, recall per class and the number of images.

    labels, predictions (N,) class indices. A class without an image has recall
    None and does not count in the averages.
    """
    there = np.unique(labels)
    recalls = metrics.recall_score(labels, predictions, labels=range(len(classes)), average=None, zero_division=0)
    return {
        "images": len(labels),
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "balanced_accuracy": float(recalls[there].mean()),
        "macro_f1": float(metrics.f1_score(labels, predictions, labels=there, average="macro", zero_division=0)),
        "recall": {name: float(recalls[k]) if k in there else None for k, name in enumerate(classes)},
    }


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """(classes, classes) counts; rows are the true class, columns the predicted one."""
    return metrics.confusion_matrix(labels, predictions, labels=range(len(classes)))


def bootstrap(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    statistic: Callable[[np.ndarray], float] = np.mean,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """95 % percentile bootstrap of a statistic of per-image values.

    values (N,), e.g. 1 for a right answer and 0 for a wrong one, or the
    difference of two models' answers on the same images (the paired bootstrap).
    With ``clusters`` (N,), e.g. subjects, whole clusters are drawn; without,
    images. Empty input is an error.
    """
    values = np.asarray(values, float)
    if not len(values):
        raise ParameterError("bootstrap: there is no value to resample.")
    generator = np.random.default_rng(seed)
    if clusters is None or len(np.unique(clusters)) < 2:
        drawn = (statistic(values[generator.integers(len(values), size=len(values))]) for _ in range(draws))
    else:
        members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
        picks = generator.integers(len(members), size=(draws, len(members)))
        drawn = (statistic(values[np.concatenate([members[k] for k in pick])]) for pick in picks)
    low, high = np.percentile(np.fromiter(drawn, float, draws), [2.5, 97.5])
    return Interval(float(statistic(values)), float(low), float(high))


class McNemar(NamedTuple):
    """Images only the first model gets right, only the second, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two models on the same images; ``first``, ``second`` (N,) bool, right or wrong."""
    if len(first) != len(second):
        raise ParameterError(f"McNemar: {len(first)} and {len(second)} answers are not on the same images.")
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differing = only_first + only_second
    p = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    return McNemar(only_first, only_second, float(p))
