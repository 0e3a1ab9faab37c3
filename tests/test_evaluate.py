"""Numbers from predictions: cases worked out by hand, and what an interval and a test must do."""

from __future__ import annotations

from math import comb, inf, sqrt
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report
from torch import nn

from fercore.errors import ParameterError
from fercore.evaluate import (
    bootstrap,
    calibration_error,
    confusion,
    cost,
    frames_per_second,
    holm,
    kendall,
    mcnemar,
    over_seeds,
    paired_bootstrap,
    pose_table,
    summary,
)

CLASSES = ("a", "b", "c")
LABELS = np.array([0, 0, 0, 0, 1, 1])
ANSWERS = np.array([0, 0, 0, 1, 1, 2])


def test_summary_by_hand() -> None:
    found = summary(LABELS, ANSWERS, CLASSES)
    assert found["images"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["recall"] == {"a": pytest.approx(3 / 4), "b": pytest.approx(1 / 2), "c": None}
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    f_a = 2 * 1 * 0.75 / (1 + 0.75)  # precision 3 / 3, recall 3 / 4
    f_b = 0.5  # precision 1 / 2, recall 1 / 2
    assert found["macro_f1"] == pytest.approx((f_a + f_b) / 2)
    assert found["precision"] == {"a": 1.0, "b": 0.5, "c": 0.0}, "c was predicted once, wrongly"
    assert found["f1"] == {"a": pytest.approx(f_a), "b": pytest.approx(f_b), "c": None}
    assert summary(LABELS, np.zeros(6, int), CLASSES)["precision"] == {"a": pytest.approx(4 / 6), "b": None, "c": None}


def test_confusion_by_hand() -> None:
    counts = confusion(LABELS, ANSWERS, CLASSES)
    assert counts.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]], "rows are the true class"


labelled = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=40)
@given(labelled)
def test_summary_follows_from_the_confusion_matrix(pairs: list[tuple[int, int]]) -> None:
    labels, answers = np.array(pairs).T
    counts, found = confusion(labels, answers, CLASSES), summary(labels, answers, CLASSES)
    assert counts.sum() == found["images"] == len(pairs)
    assert found["accuracy"] == pytest.approx(np.trace(counts) / len(pairs))
    recalls = []
    for k, name in enumerate(CLASSES):
        if counts[k].sum():
            recalls.append(counts[k, k] / counts[k].sum())
            assert found["recall"][name] == pytest.approx(recalls[-1])
        else:
            assert found["recall"][name] is None
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert 0 <= found["macro_f1"] <= 1
    report = classification_report(labels, answers, output_dict=True, zero_division=0)
    for k in np.unique(labels):
        assert found["f1"][CLASSES[k]] == pytest.approx(report[str(k)]["f1-score"])
        assert (found["precision"][CLASSES[k]] or 0.0) == pytest.approx(report[str(k)]["precision"])


def test_pose_table_by_hand() -> None:
    poses = np.array([0, 0, 45, 45, 0, 45])
    table = pose_table(LABELS, ANSWERS, poses, CLASSES)
    assert list(table.columns) == ["a", "b", "c", "mean", "accuracy", "images"]
    assert list(table.index) == [0, 45, "all", "mean"]
    assert table.loc[0, ["a", "b", "mean", "accuracy", "images"]].tolist() == [1, 1, 1, 1, 3]
    assert table.loc[45, ["a", "b", "mean"]].tolist() == [0.5, 0, 0.25]
    assert table.loc[45, "accuracy"] == pytest.approx(1 / 3)
    assert table.loc["all", ["a", "b", "mean"]].tolist() == [0.75, 0.5, 0.625]
    assert table.loc["all", "accuracy"] == pytest.approx(4 / 6) and table.loc["all", "images"] == 6
    assert table.loc["mean", ["a", "b", "mean"]].tolist() == [0.75, 0.5, 0.625]
    assert table.loc["mean", "accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert table["c"].isna().all(), "no image of it"


@settings(deadline=None, max_examples=20)
@given(labelled, st.integers(1, 3))
def test_pose_table_agrees_with_the_summary(pairs: list[tuple[int, int]], number: int) -> None:
    labels, answers = np.array(pairs).T
    poses = np.array([f"pan {k % number}" for k in range(len(pairs))])
    table, whole = pose_table(labels, answers, poses, CLASSES), summary(labels, answers, CLASSES)
    assert table.loc["all", "accuracy"] == pytest.approx(whole["accuracy"])
    assert table.loc["all", "mean"] == pytest.approx(whole["balanced_accuracy"])
    assert table.loc["all", "images"] == table["images"].iloc[:-2].sum() == len(pairs)
    for pose in np.unique(poses):
        part = summary(labels[poses == pose], answers[poses == pose], CLASSES)
        assert table.loc[pose, "mean"] == pytest.approx(part["balanced_accuracy"])


def test_calibration_error_by_hand() -> None:
    """Two images at 0.9, one of them right, and two at 0.6, both right: (2 |0.5 - 0.9| + 2 |1 - 0.6|) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert calibration_error(np.array([0, 1, 0, 1]), probabilities) == pytest.approx(0.4)
    sure = np.eye(3)
    assert calibration_error(np.arange(3), sure) == 0 and calibration_error((np.arange(3) + 1) % 3, sure) == 1
    even = np.full((4, 4), 0.25)
    assert calibration_error(np.zeros(4, int), even, bins=10) == pytest.approx(0.75)
    edge = np.array([[0.5, 0.5], [0.5, 0.5], [0.51, 0.49], [0.51, 0.49]])
    merged = abs((0.5 - 1) * 2 + 0.49 * 2) / 4
    apart = (abs((0.5 - 1) * 2) + 0.49 * 2) / 4
    found = [calibration_error(np.array([1, 1, 0, 0]), edge, bins=bins) for bins in (2, 1)]
    assert found == pytest.approx([apart, merged]), "0.5 belongs to the lower bin"


class Answer(NamedTuple):
    logits: torch.Tensor


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 7)

    def forward(self, images: torch.Tensor) -> Answer:
        return Answer(self.linear(self.norm(self.convolution(images)).mean((2, 3))))


def test_cost_by_hand() -> None:
    found = cost(Small(), 10)
    assert found.parameters == 3 * 4 * 9 + 2 * 4 + (4 * 7 + 7)
    assert found.multiply_adds == 10 * 10 * 3 * 4 * 9 + 4 * 7
    assert found.flops == 2 * found.multiply_adds
    assert 0 < frames_per_second(Small(), 10, batch=2, repeats=2) < inf


def test_bootstrap_over_subjects_is_wider_when_their_images_go_together() -> None:
    subjects = np.repeat(np.arange(20), 25)
    right = (subjects % 4 > 0).astype(float)  # a person is right or wrong as a whole
    images, people = bootstrap(right), bootstrap(right, subjects)
    assert images.value == people.value == 0.75
    assert people.high - people.low > 3 * (images.high - images.low)
    theory = 2 * 1.96 * np.sqrt(0.75 * 0.25 / 20)
    assert people.high - people.low == pytest.approx(theory, rel=0.2)


def test_bootstrap_over_subjects_equals_images_when_each_has_one() -> None:
    right = np.arange(400) % 3 > 0
    assert bootstrap(right, np.arange(400)) == pytest.approx(bootstrap(right), abs=0.01)


def test_bootstrap_resamples_whole_subjects_of_unequal_size() -> None:
    """Of two subjects, with 1 and 9 images, only the means 0, 0.1 and 1 can come out."""
    values, subjects = np.array([1.0] + [0.0] * 9), np.array([5] + [7] * 9)
    drawn: set[float] = set()

    def mean(sample: np.ndarray) -> float:
        drawn.add(round(float(sample.mean()), 6))
        return float(sample.mean())

    assert bootstrap(values, subjects, statistic=mean, draws=200) == (0.1, 0.0, 1.0)
    assert drawn == {0.0, 0.1, 1.0}


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for trial in range(120):
        interval = bootstrap(generator.random(150) < 0.7, draws=300, seed=trial)
        inside += interval.low <= 0.7 <= interval.high
    assert 0.87 < inside / 120 <= 1


def test_bootstrap_is_seeded_and_pairs_differences() -> None:
    first, second = np.arange(200) % 4 > 0, np.arange(200) % 4 > 1
    difference = bootstrap(first.astype(float) - second)
    assert difference == bootstrap(first.astype(float) - second)
    assert difference.value == pytest.approx(0.25) and difference.low > 0
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 9))
def test_bootstrap_stays_within_the_values(values: list[float], seed: int) -> None:
    value, low, high = bootstrap(np.array(values), draws=50, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert value == pytest.approx(np.mean(values))


def test_paired_bootstrap_is_the_bootstrap_of_the_difference() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(120) < 0.8, generator.random(120) < 0.6
    subjects = np.repeat(np.arange(12), 10)
    found = paired_bootstrap(first, second, subjects)
    assert found == bootstrap(first.astype(float) - second, subjects)
    assert found.value == pytest.approx(first.mean() - second.mean())
    same = paired_bootstrap(first, first)
    assert same == (0, 0, 0), "one model beside itself"
    with pytest.raises(ParameterError, match="3 and 2 answers"):
        paired_bootstrap(np.ones(3, bool), np.ones(2, bool))


def test_interval_over_seeds_by_hand() -> None:
    found = over_seeds([0.80, 0.82, 0.87])
    half = 4.302652729911275 * sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2) / sqrt(3)  # t of two degrees of freedom
    assert found == pytest.approx((0.83, 0.83 - half, 0.83 + half))
    assert over_seeds([0.5, 0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(ParameterError, match="two runs or more, not 1"):
        over_seeds([0.8])


def test_kendall_by_hand() -> None:
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]).tau == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]).tau == pytest.approx(-1)
    found = kendall([1, 2, 3, 4], [1, 3, 2, 4])  # one of six pairs is turned
    assert found.tau == pytest.approx(4 / 6) and found.p == pytest.approx(8 / 24)
    assert kendall([1, 1, 2], [1, 2, 3]).tau == pytest.approx(2 / sqrt(2 * 3)), "tau-b counts a tie"
    for one, two in (([1], [1]), ([1, 1], [1, 2]), ([], [])):
        with pytest.raises(ParameterError, match="not all equal"):
            kendall(one, two)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0} and holm({}) == {}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_values_and_bonferroni(values: list[float]) -> None:
    found = holm({str(k): p for k, p in enumerate(values)})
    corrected = [found[str(k)] for k in range(len(values))]
    for p, q in zip(values, corrected, strict=True):
        assert p <= q <= min(1.0, len(values) * p) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all(), "never falling"


def test_nothing_to_resample_is_an_error() -> None:
    with pytest.raises(ParameterError, match="no value to resample"):
        bootstrap(np.array([]))


def binomial_p(few: int, total: int) -> float:
    """Two-sided exact p of a fair coin: twice the smaller tail, at most 1."""
    return min(1.0, 2 * sum(comb(total, k) for k in range(few + 1)) / 2**total)


def test_mcnemar_by_hand() -> None:
    first = np.array([1] * 10 + [1] * 8 + [0] * 2 + [0] * 5, bool)
    second = np.array([1] * 10 + [0] * 8 + [1] * 2 + [0] * 5, bool)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar(second, first) == (2, 8, pytest.approx(found.p))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 25), st.integers(0, 25), st.integers(0, 10))
def test_mcnemar_is_an_exact_binomial_test(only_first: int, only_second: int, both: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True] * both, bool)
    second = np.array([False] * only_first + [True] * only_second + [True] * both, bool)
    few, total = min(only_first, only_second), only_first + only_second
    assert mcnemar(first, second) == (only_first, only_second, pytest.approx(binomial_p(few, total)))


def test_mcnemar_needs_the_same_images() -> None:
    with pytest.raises(ParameterError, match="3 and 2 answers"):
        mcnemar(np.ones(3, bool), np.ones(2, bool))
