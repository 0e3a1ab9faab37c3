"""Where are the 68 landmarks? The test of networks that were trained to find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from fercore import evaluate
from fercore.data.prepared import Prepared
from fercore.recipe import Recipe
from fercore.training.train import Batches, to_predict

NEAR = 0.05
"""A landmark counts as found within this share of the face's size."""
SHOWN = 40
"""Test images whose found landmarks a record keeps."""


def distances(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each landmark the distance to its true place, as a share of the face's size: two (N, P, 2) -> (N, P).

    The size is ``sqrt(width * height)`` of the box round the true landmarks, which, unlike the distance of the eyes,
    does not shrink to nothing when the head turns.
    """
    size = np.sqrt(np.prod(true.max(1) - true.min(1), axis=1))  # (N,)
    return np.linalg.norm(found - true, axis=2) / size[:, None]


@torch.no_grad()
def find(network: nn.Module, batches: Batches) -> np.ndarray:
    """Landmarks on the images of a split, in its order: (N, 68, 2) float32, shares of the side."""
    network.eval()
    return torch.cat([network(batch["images"])[0].float().cpu() for batch in batches]).numpy()


def judge(recipe: Recipe, network: nn.Module, batches: Batches) -> float:
    """Share of the landmarks of a split that are found within :data:`NEAR`."""
    true = batches.truth["points"][batches.rows].numpy()
    return float((distances(find(network, batches), true) < NEAR).mean())


def test(
    recipe: Recipe, network: nn.Module, data: Prepared, parts: Mapping[str, np.ndarray]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Landmarks on people whom nobody has seen: metrics of ``test`` with a bootstrap interval over people, and arrays.

    ``accuracy``: share of landmarks within :data:`NEAR`; ``normalised_mean_error``: the mean of :func:`distances`,
    ``..._visible`` of those landmarks that the head itself does not hide. Arrays, each (N,): ``error`` and
    ``error_visible`` of each image, its ``yaw``, and ``samples``; and of the first images, whose rows in the manifest
    are ``shown_rows``, what was ``found`` (n, 68, 2).
    """
    rows, device = parts["test"], next(network.parameters()).device
    found = find(network, to_predict(recipe, data, rows, device))
    error = distances(found, data.landmarks()[rows])
    manifest = data.manifest.iloc[rows]
    visible = np.stack(manifest["visible"].to_numpy()).astype(bool)
    subjects = manifest["subject"].to_numpy().astype(str)
    interval = evaluate.bootstrap((error < NEAR).mean(1), subjects)
    of_visible = np.where(visible, error, 0.0).sum(1) / np.maximum(visible.sum(1), 1)
    metrics = {
        "images": len(rows),
        "people": len(np.unique(subjects)),
        "accuracy": interval.value,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "interval_over": "subjects",
        "normalised_mean_error": float(error.mean()),
        "normalised_mean_error_visible": float(error[visible].mean()),
    }
    arrays = {
        "error": error.mean(1).astype(np.float32),
        "error_visible": of_visible.astype(np.float32),
        "yaw": manifest["yaw"].to_numpy(np.float32),
        "samples": manifest["sample"].to_numpy().astype(str),
        "shown_rows": rows[:SHOWN],
        "found": found[:SHOWN].astype(np.float16),
    }
    return {"test": metrics}, arrays
