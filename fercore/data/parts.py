"""Which rows a run trains, validates and tests on, and of which of them accuracy is told apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fercore.data import protocols
from fercore.data.prepared import Prepared
from fercore.data.protocols import Split
from fercore.recipe import Recipe

MOST_PANS = 20
"""A set with more different pans was not taken by cameras at fixed places: each of its pans would be a subset."""


def parts_of(recipe: Recipe, data: Prepared, further: Mapping[str, protocols.Protocol] = protocols.NONE) -> Split:
    """The rows that a run trains, validates and tests on: the protocol's, thinned as the recipe says.

    ``further``: protocols that a paper brings along. Of a class that is left out there are no rows.
    """
    parts = protocols.split(data.manifest, recipe.protocol, recipe.fold, further)
    if recipe.leave_out:
        parts = {name: rows[data.labels()[rows] >= 0] for name, rows in parts.items()}
    parts = {name: thinned(rows, recipe, 1.0 if name == "test" else recipe.share) for name, rows in parts.items()}
    if recipe.oversample:
        parts["train"] = oversampled(parts["train"], data.labels(), recipe.seed)
    return parts


def oversampled(rows: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows of which each class has as many as the most frequent one: all of its own, again and again, the last drawn.

    labels (N,) of all rows of the data set. A class without a row has none.
    """
    rng, own = np.random.default_rng(seed), labels[rows]
    most = np.bincount(own).max()
    chosen = []
    for label in np.unique(own):
        members = rows[own == label]
        times, rest = divmod(most, len(members))
        chosen += [np.tile(members, times), rng.choice(members, rest, replace=False)]
    return np.sort(np.concatenate(chosen))


def thinned(rows: np.ndarray, recipe: Recipe, share: float = 1.0) -> np.ndarray:
    """All rows, or a ``share`` of them (two at least), and at most ``recipe.images``, drawn by the seed."""
    wanted = min(max(2, round(share * len(rows))), recipe.images or len(rows))
    if wanted >= len(rows):
        return rows
    return np.sort(np.random.default_rng(recipe.seed).choice(rows, wanted, replace=False))


def subsets(data: Prepared, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Named masks over ``rows``: ``test`` (all), each pose subset that is marked, each pan where cameras stood."""
    manifest = data.manifest.iloc[rows]
    masks = {"test": np.ones(len(rows), bool)}
    for name in ("pose_over_30", "pose_over_45"):
        if name in manifest and manifest[name].any():
            masks[name] = manifest[name].to_numpy(bool)
    if "pan" in manifest and manifest["pan"].nunique() <= MOST_PANS:
        masks |= {f"pan_{pan:+.0f}": (manifest["pan"] == pan).to_numpy() for pan in sorted(manifest["pan"].unique())}
    return masks
