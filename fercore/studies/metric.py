"""What a learned metric made of faces: how far apart kinds of pairs lie, how well expressions, poses and people form
groups, and whose faces lie together. All of it is read off the features that records keep of their test images."""

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
"""Images whose pairs are looked at, evenly taken: all pairs of more take memory, not insight."""
PAIRS = {
    "same expression,\nother pose": ("labels", "poses"),
    "other expression,\nsame pose": ("poses", "labels"),
    "same expression,\nother person": ("labels", "subjects"),
    "other expression,\nsame person": ("subjects", "labels"),
}
"""The four distances of the paper's Fig. 1, D1 to D4: what a pair has in common, and what it has not."""


def known(record: Record) -> pd.DataFrame:
    """What is known of each test image, in their order: expression ``labels``, ``poses`` (pan in degrees),
    ``subjects``. A record whose protocol has no pans is an error."""
    arrays = record.arrays()
    pans = {int(name.removeprefix("in_pan_")): mask for name, mask in arrays.items() if name.startswith("in_pan_")}
    if not pans:
        raise RecordError(f"{record.name} has no test images by pan.", do="choose a record of a controlled set")
    poses = sum(pan * mask.astype(int) for pan, mask in pans.items())
    return pd.DataFrame({"labels": arrays["labels"], "poses": poses, "subjects": arrays["subjects"]})


def _evenly(record: Record, most: int) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Features (n, D) of every so-manieth test image, what is known of them, and their rows."""
    rows = np.arange(len(every := known(record)))[:: -(-len(every) // most)]
    return features.of(record)[rows], every.iloc[rows].reset_index(drop=True), rows


def distances(record: Record, most: int = MOST) -> pd.Series:
    """The mean squared distance of each kind of pair in :data:`PAIRS`, as a share of that of any two images.

    A metric that sees expressions alone has the first and third near 0 and the others near or above 1.
    """
    points, about, _ = _evenly(record, most)
    squares = np.square(points).sum(1)
    apart = squares[:, None] + squares - 2 * points @ points.T
    alike = {name: np.equal.outer(about[name].to_numpy(), about[name].to_numpy()) for name in about}
    two = ~np.eye(len(points), dtype=bool)
    found = {name: apart[alike[same] & ~alike[other] & two].mean() for name, (same, other) in PAIRS.items()}
    return pd.Series(found) / apart[two].mean()


def distances_of_runs(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """:func:`distances` of several names, means over their runs: columns network, distance, value."""
    means = {name: sum(map(distances, of_name)) / len(of_name) for name, of_name in runs.items()}
    return pd.DataFrame(means).rename_axis("distance").reset_index().melt("distance", var_name="network")


def silhouettes(record: Record, most: int = MOST) -> dict[str, float]:
    """How well the test images form groups by expression, pose and person: the mean silhouette, -1 to 1.

    1: every group lies by itself; 0: groups lie in each other; below 0: others are nearer than the own.
    """
    points, about, _ = _evenly(record, most)
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
    points, about, _ = _evenly(record, most)
    drawn = TSNE(random_state=0, init="pca", perplexity=min(30, len(points) / 4)).fit_transform(points)
    return Plane(drawn, about["labels"].to_numpy(), about["poses"].to_numpy())


class Gathered(NamedTuple):
    """Faces of one expression that were put into groups by their features."""

    images: int
    people: int
    agreement: float  # adjusted Rand index of groups and people: 0 by chance, 1 where they are the same


def gathered(record: Record, expression: str, groups: int, pan: int = 0) -> Gathered:
    """Do people stay together? k-means into ``groups`` of the images that are seen from ``pan`` and answered with
    ``expression``, held against who is on them, as the paper's Fig. 14 does by eye."""
    if expression not in record.classes:
        raise RecordError(f"{record.name} has no class {expression!r}.", do=f"take one of: {', '.join(record.classes)}")
    about, answer = known(record), record.arrays()["probabilities"].argmax(1)
    chosen = np.flatnonzero((about["poses"] == pan) & (answer == record.classes.index(expression)))
    people = about["subjects"].to_numpy()[chosen]
    if len(chosen) < groups:
        what = f"{record.name}: only {len(chosen)} images are answered with {expression} at {pan} degrees."
        raise RecordError(what, do=f"take fewer than {groups} groups")
    found = KMeans(groups, n_init=10, random_state=0).fit_predict(features.of(record)[chosen])
    return Gathered(len(chosen), len(np.unique(people)), float(adjusted_rand_score(people, found)))
