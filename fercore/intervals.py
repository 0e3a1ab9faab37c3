"""How sure a number of some runs is, and the difference between two kinds of runs: one way for every page.

A run's number changes with who is tested and with the draw of its training. Images of one person are no independent
draws, so people are counted where they are known, and images where they are not. With runs of several seeds their
spread is added, with its own degrees of freedom.

Every metric here is a ratio of sums over the test images, ``sum a / sum b``; to first order its error is the sum of
``(a - value b) / sum b``, summed within people. Its variance over C people is ``C / (C - 1)`` times the sum of their
squares; that over K seeds is ``s^2 / K``. Degrees of freedom are Satterthwaite's. Shares get Wilson's interval, with
the number of independent images that has this variance and the quantile of t, which holds its level with seven people,
where a percentile bootstrap covers 84 to 89 %; differences get ``value ± t s``. Where nearly all is right and people
differ much, few show how much, and intervals are too narrow: at a rate of 97 % they cover 87 % for seven people.

What it assumes: people are drawn alike and answered independently of each other, given the networks. Networks of
several folds share training images, and people of folds that are drawn anew may return; people are counted once then,
but what the shared training does to the spread is in no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from fercore.errors import ParameterError, RecordError
from fercore.records import Record


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A number of some runs: its 95 % interval, what that is over (``3 seeds, 70 people``), and, of a difference, the
    two-sided p of no difference."""

    value: float
    low: float
    high: float
    over: str
    p: float = math.nan

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)


class Part(NamedTuple):
    """What one run gives to an estimate: its value, the error of each test image, and whose image it is; no names where
    images of two runs can't be told to be the same."""

    value: float
    errors: np.ndarray  # (N,)
    who: np.ndarray | None  # (N,) names
    people: bool  # whether names are of people, not of images
    seed: int = 0
    fold: int = 0


def ratio(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """``sum a / sum b`` and the error of each image; both (N,). NaN where ``b`` sums to nothing."""
    total = float(b.sum())
    if not total:
        return math.nan, np.zeros(len(b))
    value = float(a.sum()) / total
    return value, (a - value * b) / total


def metric_of(metric: str, labels: np.ndarray, answers: np.ndarray, classes: Sequence[str]) -> tuple[float, np.ndarray]:
    """A metric of answers (N,) to labels (N,) and the error of each image.

    ``accuracy``, ``balanced_accuracy``, or ``recall.CLASS``, ``precision.CLASS``, ``f1.CLASS``.
    """
    kind, _, name = metric.partition(".")
    right = (labels == answers).astype(float)
    if kind == "accuracy":
        return ratio(right, np.ones(len(right)))
    if kind == "balanced_accuracy":
        each = [ratio(right * (labels == k), (labels == k).astype(float)) for k in np.unique(labels)]
        return float(np.mean([value for value, _ in each])), np.mean([errors for _, errors in each], axis=0)
    if kind not in ("recall", "precision", "f1") or name not in classes:
        raise ParameterError(f"There is no metric {metric!r} of {', '.join(classes)}.")
    k = list(classes).index(name)
    true, said = (labels == k).astype(float), (answers == k).astype(float)
    below = {"recall": true, "precision": said, "f1": (true + said) / 2}[kind]
    return ratio(true * said, below)


def mean(values: np.ndarray, who: np.ndarray | None = None) -> Interval:
    """The mean of values (N,), such as 1 for a right answer, with its interval over images, or over ``who`` (N,)."""
    values = np.asarray(values, float)
    if not len(values):
        raise ParameterError("There is no value to take the mean of.")
    names = np.arange(len(values)) if who is None else who
    part = Part(*ratio(values, np.ones(len(values))), names, who is not None)
    return together([part], share=0 <= values.min() <= values.max() <= 1).interval


def together(parts: Sequence[Part], *, share: bool = True) -> Estimate:
    """Several runs of one kind as one number: the mean over seeds of the means over folds.

    ``share``: the number lies between 0 and 1, and so does its interval.
    """
    by_seed: dict[int, list[Part]] = {}
    for part in parts:
        by_seed.setdefault(part.seed, []).append(part)
    of_seed = [float(np.mean([part.value for part in own])) for own in by_seed.values()]
    weight = {seed: 1 / (len(own) * len(by_seed)) for seed, own in by_seed.items()}
    value, count = float(np.mean(of_seed)), len(of_seed)
    variance, clusters = _over_names(parts, weight)
    terms = [(variance, clusters - 1)]
    if count > 1:
        terms.append((float(np.var(of_seed, ddof=1)) / count, count - 1))
    named = f"{clusters:,} {'people' if parts[0].people else 'images'}"
    over = f"{count} seeds, {named}" if count > 1 else named
    return _interval(value, terms, over, sum(len(part.errors) for part in parts) if share else 0)


def _over_names(parts: Sequence[Part], weight: Mapping[int, float]) -> tuple[float, int]:
    """Variance of the mean by who is tested, and how many they are."""
    if any(part.who is None for part in parts):  # nobody can be met again: as if all runs had the same errors
        own = [len(part.errors) / (len(part.errors) - 1) * float(np.square(part.errors).sum()) for part in parts]
        return float(np.mean(own)), min(len(part.errors) for part in parts)
    names = np.concatenate([part.who.astype(str) for part in parts])
    errors = np.concatenate([weight[part.seed] * part.errors for part in parts])
    groups, place = np.unique(names, return_inverse=True)
    sums = np.bincount(place, errors)
    many = len(groups)
    return (many / (many - 1) * float(np.square(sums).sum()) if many > 1 else math.nan), many


def _interval(value: float, terms: Sequence[tuple[float, int]], over: str, images: int) -> Estimate:
    """``images``: answers behind a share, which can't tell more than so many independent ones; 0 for a difference."""
    variance = sum(v for v, _ in terms)
    if math.isnan(variance) or math.isnan(value):
        return Estimate(value, math.nan, math.nan, over)
    varies = variance > 1e-12  # less is rounding
    freedom = variance**2 / sum(v**2 / df for v, df in terms if v) if varies else terms[0][1]
    t = float(stats.t.ppf(0.975, freedom))
    # Where all are answered alike, nothing varies that could be measured: each counts as one image then.
    number = terms[0][1] + 1
    if not images:
        error = math.sqrt(variance)
        half = t * error if varies else t**2 / (number + t**2)
        away = abs(value) / error if varies else math.sqrt(number * abs(value) / max(1 - abs(value), 1e-12))
        p = max(float(2 * stats.t.sf(away, freedom)), 0.0 if varies else 2.0 ** (1 - number))
        return Estimate(value, value - half, value + half, over, p)
    if varies and 0 < value < 1:
        number = min(value * (1 - value) / variance, images)
    middle = (value + t**2 / (2 * number)) / (1 + t**2 / number)
    half = t / (1 + t**2 / number) * math.sqrt(value * (1 - value) / number + t**2 / (4 * number**2))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half), over)


def part_of(run: Record, metric: str = "accuracy", subset: str = "test") -> Part:
    """What a run gives to an estimate of a metric on a subset of its test images."""
    place = {"seed": run.recipe["seed"], "fold": run.recipe["fold"]}
    arrays = run.arrays()
    head = next((name for name in run.heads if metric.startswith(f"{name}_")), "")
    prefix, own = (f"{head}_", metric.removeprefix(f"{head}_")) if head else ("", metric)
    classes = run.heads.get(head, run.classes)
    if f"in_{subset}" in arrays:
        chosen = arrays[f"in_{subset}"] & (arrays[f"{prefix}labels"] >= 0)
        answers = arrays[f"{prefix}probabilities"].argmax(1)
        who = arrays["subjects" if "subjects" in arrays else "samples"]
        value, errors = metric_of(own, arrays[f"{prefix}labels"][chosen], answers[chosen], classes)
        return Part(value, errors, who[chosen], "subjects" in arrays, **place)
    if f"confusion_{subset}" in arrays:  # of another data set's images
        counts = arrays[f"confusion_{subset}"]
        labels, answers = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
        return Part(*metric_of(own, labels, answers, classes), None, False, **place)
    name = next((name for name in ("right", "near") if name in arrays), "")
    if subset == "test" and metric == "accuracy" and "people" in arrays and name:
        values = arrays[name].astype(float)
        return Part(*ratio(values, np.ones(len(values))), arrays["people"], True, **place)
    raise RecordError(f"{run.name} does not keep what an interval of {metric} on {subset} needs.", do="train it again")


def estimate(
    runs: Sequence[Record], metric: str = "accuracy", subset: str = "test", against: Sequence[Record] | None = None
) -> Estimate:
    """A metric of some runs on a subset of their test images, or by how much it is above that of other runs.

    ``against``: runs of the same seeds and folds on the same images; seed and fold pair them.
    """
    if not runs:
        raise RecordError("There is no run to take a number of.")
    if against is None:
        if len(runs) == 1 and not _kept(runs[0], subset):
            return _as_written(runs[0], metric, subset)
        return together([part_of(run, metric, subset) for run in runs])
    found = together([_difference(one, two, metric, subset) for one, two in pairs(runs, against)], share=False)
    return found._replace(low=max(-1.0, found.low), high=min(1.0, found.high))


def _kept(run: Record, subset: str) -> bool:
    arrays = run.arrays()
    return f"in_{subset}" in arrays or f"confusion_{subset}" in arrays or "people" in arrays


def _as_written(run: Record, metric: str, subset: str) -> Estimate:
    """The interval that the run itself wrote down, of records which keep nothing that another could be made of."""
    numbers = run.metrics[subset]
    low, high = (float(numbers.get(f"{metric}_{end}", math.nan)) for end in ("low", "high"))
    return Estimate(float(numbers[metric]), low, high, str(numbers.get("interval_over", "")))


def pairs(runs: Sequence[Record], against: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Runs of two kinds that share seed and fold, in their order; one without a partner is an error."""
    first, second = ({(run.recipe["seed"], run.recipe["fold"]): run for run in own} for own in (runs, against))
    if not first or first.keys() != second.keys():
        what = f"Runs are compared by (seed, fold), but one kind has {sorted(first)} and the other {sorted(second)}."
        raise RecordError(what, do="commit the records that are missing")
    return [(first[key], second[key]) for key in sorted(first)]


def _difference(run: Record, other: Record, metric: str, subset: str) -> Part:
    one, two = part_of(run, metric, subset), part_of(other, metric, subset)
    if one.who is None:  # images that can't be told to be the same do not pair
        return one._replace(value=one.value - two.value, errors=np.concatenate([one.errors, two.errors]))
    same = len(one.errors) == len(two.errors) and np.array_equal(one.who, two.who)
    if not same:
        raise RecordError(f"{run.name} and {other.name} were not tested on the same images.")
    return one._replace(value=one.value - two.value, errors=one.errors - two.errors)


def apart(run: Record, other: Record, subset: str = "test") -> tuple[int, int]:
    """How many images of a subset only the first run has right, and how many only the second."""
    kept = [each.arrays() for each in (run, other)]
    right = [(a["probabilities"].argmax(1) == a["labels"])[a[f"in_{subset}"]] for a in kept]
    if not np.array_equal(kept[0]["samples"], kept[1]["samples"]):
        raise RecordError(f"{run.name} and {other.name} were not tested on the same images.")
    return int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())


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


def points(value: float, low: float, high: float) -> str:
    """A difference in points with its interval, as every page writes it: ``+0.02 points [−0.51, +0.55]``."""
    return f"{signed(value)} points [{signed(low)}, {signed(high)}]"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus and no minus before zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
