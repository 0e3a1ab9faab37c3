"""Numbers from predictions: cases worked out by hand, and what an interval and a test must do."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.errors import ParameterError
from fercore.evaluate import bootstrap, confusion, mcnemar, summary

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
