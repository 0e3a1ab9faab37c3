"""From predictions to numbers: metrics, tables by pose, costs, intervals, and whether two models differ.

scikit-learn, scipy and torch do what they have; what is added here is the
bootstrap over subjects, because images of one person are no independent draws.
Shares are numbers between 0 and 1, never per cent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn import metrics
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fercore.errors import ParameterError


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def summary(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """Accuracy, balanced accuracy, macro-F1, recall, precision and F1 per class, and the number of images.

    labels, predictions (N,) class indices. A class without an image has recall
    and F1 None and does not count in the averages; one that is never predicted
    has precision None.
    """
    there, predicted = np.unique(labels), np.unique(predictions)
    precisions, recalls, f1s, _ = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(len(classes)), zero_division=0
    )

    def by_class(values: np.ndarray, known: np.ndarray) -> dict[str, float | None]:
        return {name: float(values[k]) if k in known else None for k, name in enumerate(classes)}

    return {
        "images": len(labels),
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "balanced_accuracy": float(recalls[there].mean()),
        "macro_f1": float(f1s[there].mean()),
        "recall": by_class(recalls, there),
        "precision": by_class(precisions, predicted),
        "f1": by_class(f1s, there),
    }


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """(classes, classes) counts; rows are the true class, columns the predicted one."""
    return metrics.confusion_matrix(labels, predictions, labels=range(len(classes)))


def pose_table(labels: np.ndarray, predictions: np.ndarray, poses: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Recall by pose (rows) and expression (columns), with both averages that papers print.

    labels, predictions (N,) class indices, poses (N,) names or angles. Columns
    ``mean`` (of the expressions) and ``accuracy`` (over the images), then
    ``images``; rows ``all`` (over the images) and ``mean`` (of the poses). A
    pose without an image of an expression has no value there.
    """
    names = pd.Categorical.from_codes(labels, categories=list(classes))
    frame = pd.DataFrame({"pose": poses, "expression": names, "right": labels == predictions})

    def rows(parts: pd.DataFrame) -> pd.DataFrame:
        cells = parts.groupby(["pose", "expression"], observed=False)["right"].mean().unstack()
        cells.columns = list(classes)
        whole = parts.groupby("pose")["right"]
        return cells.assign(mean=cells.mean(axis=1), accuracy=whole.mean(), images=whole.size())

    table = rows(frame)
    mean = table.mean().to_frame("mean").T.assign(images=len(frame))
    return pd.concat([table, rows(frame.assign(pose="all")), mean]).astype({"images": int})


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: ``sum_b n_b / N |accuracy_b - confidence_b|``.

    labels (N,), probabilities (N, classes). An image's confidence is its
    largest probability; bin b of ``bins`` equal ones is open below and closed
    above. Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    probabilities = np.asarray(probabilities, float)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    of_image = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(of_image, right - confidence, bins)).sum() / len(labels))


class Cost(NamedTuple):
    """What one image costs: ``flops`` counts a multiplication and the addition to its sum as two."""

    parameters: int
    multiply_adds: int
    flops: int


@torch.no_grad()
def cost(network: nn.Module, size: int) -> Cost:
    """Parameters, and operations of convolutions and matrix products on one image of ``size`` x ``size``.

    Papers print either convention, mostly multiply-adds and mostly under the
    name FLOPs. Batch norm, activations and pooling are not counted, as usual.
    """
    with FlopCounterMode(display=False) as counter:
        network.eval()(_images(network, 1, size))
    flops = int(counter.get_total_flops())
    return Cost(sum(p.numel() for p in network.parameters()), flops // 2, flops)


@torch.no_grad()
def frames_per_second(network: nn.Module, size: int, *, batch: int = 16, repeats: int = 5) -> float:
    """Images that the network answers in a second on its device: median of ``repeats`` batches after a first one.

    What it answers is the first thing that it returns.
    """
    images, seconds = _images(network, batch, size), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        network.eval()(images)[0].cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - start)
    return float(batch / np.median(seconds[1:]))


def _images(network: nn.Module, number: int, size: int) -> torch.Tensor:
    return torch.zeros(number, 3, size, size, device=next(network.parameters()).device)


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


def paired_bootstrap(first: np.ndarray, second: np.ndarray, clusters: np.ndarray | None = None) -> Interval:
    """How much more often the first model is right, with the interval of :func:`bootstrap` over the same draws.

    ``first``, ``second`` (N,) bool, right or wrong on the same images;
    ``clusters`` (N,) subjects where they are known.
    """
    _same_images("The paired bootstrap", first, second)
    return bootstrap(np.asarray(first, float) - np.asarray(second, float), clusters)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean of runs that differ in their seed and its 95 % t interval, ``mean ± t(n - 1) s / sqrt(n)``.

    One value has no spread and is an error. The ends are not cut at 0 and 1.
    """
    if len(values) < 2:
        raise ParameterError(f"An interval over seeds needs two runs or more, not {len(values)}.")
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


class McNemar(NamedTuple):
    """Images only the first model gets right, only the second, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two models on the same images; ``first``, ``second`` (N,) bool, right or wrong."""
    _same_images("McNemar", first, second)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differing = only_first + only_second
    p = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    return McNemar(only_first, only_second, float(p))


def _same_images(what: str, first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second):
        raise ParameterError(f"{what}: {len(first)} and {len(second)} answers are not on the same images.")


class Kendall(NamedTuple):
    """Agreement of two orders, 1 the same and -1 the reverse, and the two-sided p-value of independence."""

    tau: float
    p: float


def kendall(ours: Sequence[float], published: Sequence[float]) -> Kendall:
    """Kendall's tau-b: do the rows of an ablation come in the published order? Two rows or more, not all equal."""
    if min(len(set(ours)), len(set(published))) < 2:
        raise ParameterError("Kendall's tau needs two rows or more that are not all equal.")
    found = stats.kendalltau(ours, published)
    return Kendall(float(found.statistic), float(found.pvalue))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of p-values, by name: the i-th smallest of m times ``m - i + 1``, then never falling.

    Each is valid for the whole family. Source: Holm (1979).
    """
    corrected, largest = {}, 0.0
    for done, name in enumerate(sorted(p, key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - done) * p[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p}
