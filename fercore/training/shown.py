"""What a record keeps of its test images for figures: maps over rendered people, and where all lie among each other."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from fercore.data.prepared import Prepared
from fercore.recipe import Recipe
from fercore.training.train import to_predict

SHOWN = 70
"""Test images whose maps a record keeps: in the KDEF twin, all views of one person."""
COMPONENTS = 8
"""How many principal components of the test images' features a record keeps."""


def arrays(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray, *, real: bool
) -> dict[str, np.ndarray]:
    """:func:`maps` and :func:`features` of test images, as far as a paper's module defines functions of these names.

    Of ``real`` images there are no maps: without the pictures, which are not kept, they say nothing.
    """
    found = {} if real or not hasattr(module, "maps") else maps(recipe, module, network, data, rows)
    return found | (features(recipe, module, network, data, rows) if hasattr(module, "features") else {})


def maps(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """What the paper's figures draw over pictures, for the first test images.

    ``map_rows`` are their rows in the manifest; the pictures can be rendered again.
    """
    rows, device = rows[:SHOWN], next(network.parameters()).device
    (batch,) = to_predict(recipe, data, rows, device)
    with torch.no_grad():
        found = module.maps(network, batch["images"])
    return {"map_rows": rows} | {f"map_{name}": value.cpu().numpy().astype(np.float16) for name, value in found.items()}


@torch.no_grad()
def features(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, rows: np.ndarray
) -> dict[str, np.ndarray]:
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
