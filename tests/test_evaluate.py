"""Numbers from predictions: cases worked out by hand, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from fercore.evaluate import calibration_error, confusion, summary

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


def test_calibration_error_by_hand() -> None:
    """Two images at 0.9, one of them right, and two at 0.6, both right: (2 |0.5 - 0.9| + 2 |1 - 0.6|) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert calibration_error(np.array([0, 1, 0, 1]), probabilities) == pytest.approx(0.4)
    sure = np.eye(3)
    assert calibration_error(np.arange(3), sure) == 0 and calibration_error((np.arange(3) + 1) % 3, sure) == 1
    rng = np.random.default_rng(0)
    noise, labels = rng.dirichlet(np.ones(3), 400), rng.integers(0, 3, 400)
    assert calibration_error(labels, noise) == calibration_error(labels, noise, bins=15), "as Guo et al. have it"
    assert calibration_error(labels, noise) != calibration_error(labels, noise, bins=10)
    even = np.full((4, 4), 0.25)
    assert calibration_error(np.zeros(4, int), even, bins=10) == pytest.approx(0.75)
    edge = np.array([[0.5, 0.5], [0.5, 0.5], [0.51, 0.49], [0.51, 0.49]])
    merged = abs((0.5 - 1) * 2 + 0.49 * 2) / 4
    apart = (abs((0.5 - 1) * 2) + 0.49 * 2) / 4
    found = [calibration_error(np.array([1, 1, 0, 0]), edge, bins=bins) for bins in (2, 1)]
    assert found == pytest.approx([apart, merged]), "0.5 belongs to the lower bin"
