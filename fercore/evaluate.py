"""From predictions to the numbers that a record holds; shares are numbers between 0 and 1, never per cent.

How sure they are is another question, see :mod:`fercore.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn import metrics


def summary(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """Accuracy, balanced accuracy, macro-F1, recall, precision and F1 per class, and the number of images.

    labels, predictions (N,) class indices. A class without an image has recall and F1 None and does not count in the
    averages; one that is never predicted has precision None.
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


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: ``sum_b n_b / N |accuracy_b - confidence_b|``.

    labels (N,), probabilities (N, classes). An image's confidence is its largest probability; bin b of ``bins`` equal
    ones is open below and closed above. Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    probabilities = np.asarray(probabilities, float)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    of_image = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(of_image, right - confidence, bins)).sum() / len(labels))
