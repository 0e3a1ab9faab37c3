"""What a learned metric made of faces: how far apart kinds of pairs lie, how well expressions, poses and people form
groups, and whose faces lie together. All of it is read off what records keep of their test images' features: the first
principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, silhouette_score

from fercore.errors import RecordError
from fercore.records import Record
from fercore.studies import features

MOST = 1500
"""Images whose pairs are looked at, drawn by a fixed seed: all pairs of more take memory, not insight."""
CHANGES = {"pose (D1)": "poses", "person (D3)": "subjects", "expression (D2, D4)": "labels"}
"""What alone differs between the two images of a pair, with the names of the paper's Fig. 1."""


def known(record: Record) -> pd.DataFrame:
    """What is known of each test image, in their order: expression ``labels``, ``poses`` (pan in degrees),
    ``subjects``. A record whose protocol has no pans is an error."""
    arrays = record.arrays()
    named = {name.removeprefix("in_pan_"): mask for name, mask in arrays.items() if name.startswith("in_pan_")}
    pans = {int(name): mask for name, mask in named.items() if "nan" not in name}
    if not pans or "subjects" not in arrays:
        what = f"{record.name} does not know the pans and people of its test images."
        raise RecordError(what, do="choose a record of a controlled set")
    poses = sum(pan * mask.astype(int) for pan, mask in pans.items())
    return pd.DataFrame({"labels": arrays["labels"], "poses": poses, "subjects": arrays["subjects"]})


def _drawn(record: Record, most: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Features (n, D) of ``most`` test images at most, and what is known of them."""
    every = known(record)
    rows = np.sort(np.random.default_rng(0).permutation(len(every))[:most])
    return features.of(record)[rows], every.iloc[rows].reset_index(drop=True)


def distances(record: Record, most: int = MOST) -> pd.Series:
    """The mean squared distance of pairs in which one thing of :data:`CHANGES` differs and the others are the same, as
    a share of that of any two images. What the paper is after has the first two below the third."""
    points, about = _drawn(record, most)
    squares = np.square(points).sum(1)
    apart = squares[:, None] + squares - 2 * points @ points.T
    alike = {name: np.equal.outer(about[name].to_numpy(), about[name].to_numpy()) for name in about}
    found = {}
    for shown, changed in CHANGES.items():
        same = np.logical_and.reduce([held for name, held in alike.items() if name != changed])
        found[shown] = apart[same & ~alike[changed]].mean()
    return pd.Series(found) / apart[~np.eye(len(points), dtype=bool)].mean()


def distances_of_runs(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """:func:`distances` of several names, a line a run: columns network, distance, value."""
    lines = [(name, *pair) for name, of_name in runs.items() for run in of_name for pair in distances(run).items()]
    return pd.DataFrame(lines, columns=["network", "distance", "value"])


def silhouettes(record: Record, most: int = MOST) -> dict[str, float]:
    """How well the test images form groups by expression, pose and person: the mean silhouette, -1 to 1.

    1: every group lies by itself; 0: groups lie in each other; below 0: others are nearer than the own.
    """
    points, about = _drawn(record, most)
    names = {"labels": "expression", "poses": "pose", "subjects": "person"}
    return {shown: float(silhouette_score(points, about[name])) for name, shown in names.items()}


class Plane(NamedTuple):
    """Test images in two dimensions."""

    points: np.ndarray  # (n, 2)
    labels: np.ndarray  # (n,) expression
    poses: np.ndarray  # (n,) pan, degrees


def plane(record: Record, most: int = 600) -> Plane:
    """t-SNE by Barnes and Hut, as in the paper's Figs. 10 to 13, of the features that a record keeps.

    Only who is near whom means anything in it: distances between groups, and their sizes, do not.
    """
    points, about = _drawn(record, most)
    drawn = TSNE(random_state=0, init="pca", perplexity=min(30, len(points) / 4)).fit_transform(points)
    return Plane(drawn, about["labels"].to_numpy(), about["poses"].to_numpy())


class Gathered(NamedTuple):
    """Faces of one expression that were put into groups by their features."""

    images: int
    people: int
    agreement: float  # adjusted Rand index of groups and people: 0 by chance, 1 where they are the same
    together: float  # share of the images that are in the group where most of their person's are
    by_chance: float  # the same of groups dealt at random


def gathered(record: Record, expression: str, groups: int, pan: int = 0) -> Gathered:
    """Do people stay together? k-means into ``groups`` of the images that are seen from ``pan`` and answered with
    ``expression``, held against who is on them, as the paper's Fig. 14 does by eye."""
    if expression not in record.classes:
        raise RecordError(f"{record.name} has no class {expression!r}.", do=f"take one of: {', '.join(record.classes)}")
    about, answer = known(record), record.arrays()["probabilities"].argmax(1)
    chosen = np.flatnonzero((about["poses"] == pan) & (answer == record.classes.index(expression)))
    people = about["subjects"].to_numpy()[chosen]
    if pan not in set(about["poses"]):
        pans = ", ".join(map(str, sorted(set(about["poses"]))))
        raise RecordError(f"{record.name} has no images from {pan} degrees.", do=f"take one of: {pans}")
    if not 0 < groups <= len(chosen):
        what = f"{record.name}: {len(chosen)} images are answered with {expression} at {pan} degrees, {groups} groups."
        raise RecordError(what, do=f"take 1 to {len(chosen)} groups")
    found = KMeans(groups, n_init=10, random_state=0).fit_predict(features.of(record)[chosen])
    rng = np.random.default_rng(0)
    dealt = np.mean([_together(people, rng.permutation(found)) for _ in range(200)])
    agreement = float(adjusted_rand_score(people, found))
    return Gathered(len(chosen), len(np.unique(people)), agreement, _together(people, found), float(dealt))


def _together(people: np.ndarray, groups: np.ndarray) -> float:
    return float(pd.crosstab(people, groups).max(axis=1).sum() / len(people))
