"""Poses and persons of pictures whose set does not know them, as our own pre-trained networks see them, and how far
that can be trusted: the same networks are asked about rendered people, whose truth is known."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from fercore.backbones import weights
from fercore.data import catalogue, estimates, faces
from fercore.data.labels import pose_classes
from fercore.data.prepared import Prepared
from fercore.errors import DataError
from fercore.papers import arcface, dmlnet, landmarks
from fercore.recipe import Recipe
from fercore.studies import regions
from fercore.training import experiments
from fercore.training.batches import to_predict

EACH = 8
"""Images that a person is taken to have, on average: so many groups are made."""


def five_points(points: np.ndarray) -> np.ndarray:
    """The five points of a pose among 68 landmarks: (N, 68, 2) -> (N, 5, 2), eyes, nose, corners of the mouth."""
    eyes = [points[:, own].mean(1) for own in (slice(36, 42), slice(42, 48))]
    return np.stack([*eyes, points[:, 30], points[:, 48], points[:, 54]], 1)


@torch.no_grad()
def _asked(recipe: Recipe, network: nn.Module, data: Prepared, field: str) -> np.ndarray:
    network.eval()
    batches = to_predict(recipe, data, np.arange(len(data)), "cpu")
    return torch.cat([getattr(network(batch["images"]), field).float() for batch in batches]).numpy()


def yaws(points: np.ndarray) -> np.ndarray:
    """Degrees of yaw of faces with these landmarks (N, 68, 2), shares of the side."""
    return np.array([faces.pose_of(one)[0] for one in five_points(points)])


def groups(features: np.ndarray, each: int = EACH, seed: int = 0) -> np.ndarray:
    """Numbers of groups of like faces by k-means on the sphere: features (N, D) -> (N,)."""
    if len(features) < 2:
        raise DataError("One image is no group of faces.", do="take a set with more images")
    near = F.normalize(torch.from_numpy(features)).numpy()
    count = max(2, len(near) // each)
    found = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=max(1024, 2 * count), max_iter=30)
    return found.fit_predict(near)


def _seen(
    data: Prepared, preset: str, module: ModuleType, changes: dict[str, Any], field: str
) -> tuple[np.ndarray, str]:
    """What a pre-trained network says of each image, and its record's name; it is trained where it has not been."""
    recipe = module.recipe(preset, **changes)
    record = experiments.run(recipe)
    network = module.model(recipe, len(record.classes))
    weights.load(network, record.folder / "model.safetensors")
    return _asked(recipe, network, data, field), record.name


def guess(data: Prepared, preset: str) -> pd.DataFrame:
    """Yaw and group of each image: columns sample, yaw, group."""
    points, features = (_seen(data, preset, *one)[0] for one in NETWORKS)
    return pd.DataFrame({"sample": data.manifest["sample"], "yaw": yaws(points), "group": groups(features)})


def estimate_landmarks(name: str, preset: str) -> Path:
    """Keep what the landmark network sees on a data set's test images, see :mod:`fercore.studies.regions`."""
    data = catalogue.prepare(name, preset)
    points, made = _seen(data, preset, *NETWORKS[0])
    rows = np.flatnonzero(data.manifest["split"].str.contains("test"))
    return regions.keep_landmarks(data.manifest["sample"].to_numpy(str)[rows], points[rows], name, preset, made)


def quality(data: Prepared, table: pd.DataFrame) -> dict[str, float]:
    """How good estimates are on a set that knows the truth.

    ``yaw_error``, degrees, median; ``pose``: share given the right class of DML-Net's seven; ``persons``: adjusted Rand
    index of groups and people; then, in five-tuples made by the estimates, the share in which each of the four has what
    it is chosen for: ``pose_positive`` another pose, ``pose_negative`` the same, ``identity_positive`` another person,
    ``identity_negative`` the same; and what the same would be in five images drawn at random but for the expression.
    """
    manifest = data.manifest
    poses = [pose_classes(yaw, dmlnet.IN_THE_WILD).values for yaw in (manifest["yaw"].to_numpy(), table["yaw"])]
    people = np.unique(manifest["subject"], return_inverse=True)[1]
    found = dmlnet.five_tuples(data.labels(), poses[1], table["group"].to_numpy(), seed=0)
    told = {
        "yaw_error": float(np.median(np.abs(manifest["yaw"].to_numpy() - table["yaw"].to_numpy()))),
        "pose": float((poses[0] == poses[1]).mean()),
        "persons": float(adjusted_rand_score(people, table["group"])),
    }
    held = _relations(found, poses[0], people) if len(found) else {}  # none where all heads look alike to the network
    return told | held | _by_chance(poses[0], people)


def _relations(tuples: np.ndarray, pose: np.ndarray, person: np.ndarray) -> dict[str, float]:
    anchor, others = tuples[:, :1], tuples[:, 1:]
    same_pose, same_person = pose[others] == pose[anchor], person[others] == person[anchor]
    columns = (~same_pose[:, 0], same_pose[:, 1], ~same_person[:, 2], same_person[:, 3])
    return {name: float(held.mean()) for name, held in zip(ROLES, columns, strict=True)}


def _by_chance(pose: np.ndarray, person: np.ndarray) -> dict[str, float]:
    same = [np.square(np.bincount(one) / len(one)).sum() for one in (pose, person)]
    shares = (1 - same[0], same[0], 1 - same[1], same[1])
    return {f"{name}_by_chance": float(share) for name, share in zip(ROLES, shares, strict=True)}


ROLES = ("pose_positive", "pose_negative", "identity_positive", "identity_negative")


def turned(data: Prepared, table: pd.DataFrame) -> dict[str, float]:
    """How well the size of the yaw tells images of a pose subset from others of the same part: areas under ROC.

    Empty for a set that has no such subset.
    """
    found = {}
    for name in (column for column in data.manifest if column.startswith("pose_over_")):
        marked = data.manifest[name].to_numpy(bool)
        rows = data.manifest["split"].isin(data.manifest["split"][marked]).to_numpy()
        if marked[rows].any() and not marked[rows].all():
            found[name] = float(roc_auc_score(marked[rows], np.abs(table["yaw"].to_numpy())[rows]))
    return found


def estimate(name: str, preset: str) -> tuple[str, dict[str, Any]]:
    """Make the estimates of a data set and keep them; their name, and how good they are: measured on the set's twin,
    whose truth is known, and on subsets by pose where the set has them."""
    twin = f"{name}-twin" if catalogue.entry(name).real else name
    data, known = catalogue.prepare(name, preset), catalogue.prepare(twin, preset)
    table = guess(data, preset)
    told = {"dataset": name, "data": data.hash, "preset": preset, "on": twin, "turned": turned(data, table)}
    told["quality"] = quality(known, table if twin == name else guess(known, preset))
    return estimates.write(table, name, preset, told), told


NETWORKS: tuple[tuple[ModuleType, dict[str, Any], str], ...] = (
    (landmarks, {"standardise": True}, "points"),
    (arcface, {}, "features"),
)
"""Who is asked: pre-training, how its pictures look (as in runs that start from it), which output."""
