"""What a run is tested for, and what its record keeps of the test images for figures."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from fercore import evaluate
from fercore.data import protocols
from fercore.data.parts import subsets
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError
from fercore.recipe import Recipe
from fercore.training.batches import EXPRESSION, Batches, predict, to_predict

SHOWN = 70
"""Test images whose maps a record keeps: in the KDEF twin, all views of one person."""
COMPONENTS = 8
"""How many principal components of the test images' features a record keeps."""
Metrics = dict[str, dict[str, Any]]
Arrays = dict[str, np.ndarray]


def test(
    recipe: Recipe, network: nn.Module, data: Prepared, rows: np.ndarray, batches: Batches
) -> tuple[Metrics, Arrays]:
    """Test once: every head's metrics by subset, and the arrays behind them.

    Subsets are the whole test part and whatever the manifest marks in it (``pose_over_30``, ``pose_over_45``), or the
    cameras' pans of a controlled set. What belongs to a further head begins with its name: ``pose_accuracy``.
    """
    manifest = data.manifest.iloc[rows]
    masks = subsets(data, rows)
    metrics: Metrics = {name: {} for name in masks}
    arrays: Arrays = {"samples": manifest["sample"].to_numpy().astype(str)}
    if (manifest["subject"] != "").all() and manifest["subject"].nunique() > 1:
        arrays["subjects"] = manifest["subject"].to_numpy().astype(str)
    arrays |= {f"in_{name}": chosen for name, chosen in masks.items()}
    for head, found in predict(network, batches, recipe.mirror).items():
        # Half precision is what the record keeps, so that every number follows from it.
        shares, prefix = found.astype(np.float16), "" if head == EXPRESSION else f"{head}_"
        labels = batches.truth["labels" if head == EXPRESSION else head].numpy()[rows]
        classes = data.classes if head == EXPRESSION else batches.known[head].classes
        arrays |= {f"{prefix}labels": labels, f"{prefix}probabilities": shares}
        for name, chosen in masks.items():
            own, matrix = measured(labels[chosen], shares[chosen], classes)
            metrics[name] |= {f"{prefix}{key}": value for key, value in own.items()}
            arrays[f"confusion_{prefix}{name}"] = matrix
    return metrics, arrays


def measured(labels: np.ndarray, shares: np.ndarray, classes: tuple[str, ...]) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics and confusion matrix of images with a label, whose classes were given these shares."""
    known = labels >= 0
    labels, shares = labels[known], shares[known]
    answers = shares.argmax(1)
    numbers = evaluate.summary(labels, answers, classes)
    numbers["calibration_error"] = evaluate.calibration_error(labels, shares)
    return numbers, evaluate.confusion(labels, answers, classes)


def test_elsewhere(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, other: Prepared
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics, and the confusion matrix, on another data set's test part, by its own protocol.

    Its classes must be among those that the network answers with; images of other classes do not count.
    """
    there = module.recipe(recipe.preset, recipe.also_on)
    rows = protocols.split(other.manifest, there.protocol, there.fold)["test"]
    place = {name: k for k, name in enumerate(data.classes)}
    labels = np.array([place.get(name, -1) for name in other.classes])[other.labels()[rows]]
    if (labels < 0).all():
        raise ParameterError(f"{recipe.also_on} shares no class with {recipe.dataset}.", do="choose another also_on")
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    device = next(network.parameters()).device
    shares = predict(network, to_predict(recipe, other, rows, device), recipe.mirror)[EXPRESSION]
    return measured(labels, shares, data.classes)


def shown(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray, *, real: bool
) -> Arrays:
    """:func:`maps`, :func:`features` and :func:`each` of test images, where a paper's module has such functions.

    Of ``real`` images there are no maps: without the pictures, which are not kept, they say nothing.
    """
    wanted = [made for made in (maps, features, each) if hasattr(module, made.__name__) and not (real and made is maps)]
    return {name: value for made in wanted for name, value in made(recipe, module, network, data, rows).items()}


def maps(recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray) -> Arrays:
    """What the paper's figures draw over pictures, for the first test images.

    ``map_rows`` are their rows in the manifest; the pictures can be rendered again.
    """
    rows, device = rows[:SHOWN], next(network.parameters()).device
    (batch,) = to_predict(recipe, data, rows, device)
    with torch.no_grad():
        found = module.maps(network, batch["images"])
    return {"map_rows": rows} | {f"map_{name}": value.cpu().numpy().astype(np.float16) for name, value in found.items()}


@torch.no_grad()
def each(recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray) -> Arrays:
    """Numbers of every test image, none of which gives its picture away: ``each_NAME`` (N, ...) for each of the paper's
    ``each``."""
    found: dict[str, list[np.ndarray]] = {}
    for batch in to_predict(recipe, data, rows, next(network.parameters()).device):
        for name, value in module.each(network, batch["images"]).items():
            found.setdefault(f"each_{name}", []).append(value.cpu().numpy().astype(np.float16))
    return {name: np.concatenate(parts) for name, parts in found.items()}


@torch.no_grad()
def features(recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray) -> Arrays:
    """Where the test images lie among each other: the first components of the paper's ``features``, by variance.

    ``features`` (N, n <= COMPONENTS), ``features_share`` (n,) of the variance; ``known_arousal`` and ``known_valence``
    (N,) where the data set knows them. Nobody's picture can be made of them.
    """
    device = next(network.parameters()).device
    batches = to_predict(recipe, data, rows, device)
    every = torch.cat([module.features(network, batch["images"]).float().cpu() for batch in batches]).numpy()
    axes = PCA(min(COMPONENTS, *every.shape), svd_solver="full").fit(every.astype(np.float64))
    known = {name: data.manifest[name].to_numpy()[rows] for name in ("arousal", "valence") if name in data.manifest}
    return {
        "features": axes.transform(every.astype(np.float64)).astype(np.float16),
        "features_share": axes.explained_variance_ratio_.astype(np.float32),
        **{f"known_{name}": values.astype(np.float16) for name, values in known.items()},
    }
