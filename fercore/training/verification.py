"""Face verification: are two pictures of one person? The test of networks that were trained to tell people apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from fercore import evaluate
from fercore.data.prepared import Prepared
from fercore.errors import DataError
from fercore.recipe import Recipe
from fercore.training.train import to_predict


class Pairs(NamedTuple):
    """Pairs of images, as places in a list: first and second (P,), and whether they show one person (P,)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def draw_pairs(subjects: np.ndarray, count: int = 6000, seed: int = 0) -> Pairs:
    """``count`` pairs, half of one person and half of two, drawn by the seed; no image is paired with itself.

    subjects (N,): who is on each image. Fewer than two people, or no two images of one, are an error.
    """
    rng = np.random.default_rng(seed)
    codes = np.unique(subjects, return_inverse=True)[1]
    members = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]
    several = [own for own in members if len(own) > 1]
    if len(members) < 2 or not several:
        raise DataError("Verification needs two people or more, and several images of one.")
    same = np.array([rng.choice(several[k], 2, replace=False) for k in rng.integers(len(several), size=count // 2)])
    people = np.array([rng.choice(len(members), 2, replace=False) for _ in range(count - count // 2)])
    other = np.array([[rng.choice(members[a]), rng.choice(members[b])] for a, b in people])
    both = np.concatenate([same, other])
    return Pairs(both[:, 0], both[:, 1], np.arange(count) < count // 2)


def right_pairs(similarity: np.ndarray, same: np.ndarray, folds: int = 10, seed: int = 0) -> tuple[np.ndarray, float]:
    """similarity, same (P,) -> whether each pair is answered rightly, (P,) bool, and the area under the ROC curve.

    The threshold for a tenth of the pairs is the one that is best on the other nine, as on Labeled Faces in the Wild
    (Huang et al., 2007).
    """
    fold = np.random.default_rng(seed).permutation(len(same)) % folds
    right = np.zeros(len(same), bool)
    for k in range(folds):
        known = fold != k
        order = np.argsort(similarity[known])
        # correct answers when the pairs from a place in this order on count as one person
        gain = np.where(same[known][order], -1, 1).cumsum()
        best = int(np.argmax(np.concatenate([[0], gain])))
        values = similarity[known][order]
        edge = -np.inf if best == 0 else np.inf if best == len(values) else (values[best - 1] + values[best]) / 2
        right[fold == k] = (similarity[fold == k] > edge) == same[fold == k]
    return right, float(roc_auc_score(same, similarity))


@torch.no_grad()
def test(
    recipe: Recipe, network: nn.Module, data: Prepared, parts: Mapping[str, np.ndarray]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Verification on people whom nobody has seen: metrics of ``test`` with a bootstrap interval, and the arrays.

    ``accuracy``: share of the P pairs that are rightly called one person or two; chance is 1/2. The interval is over
    the person of the first image. Arrays, each (P,): cosine ``similarity`` of the two embeddings, whether they are the
    ``same`` person, whether the answer is ``right``, by how many degrees the two ``yaw`` differ.
    """
    network.eval()
    rows, device = parts["test"], next(network.parameters()).device
    batches = to_predict(recipe, data, rows, device)
    features = torch.cat([F.normalize(network(batch["images"]).features.float()).cpu() for batch in batches]).numpy()
    subjects = data.manifest["subject"].to_numpy()[rows].astype(str)
    drawn = draw_pairs(subjects)
    similarity = (features[drawn.first] * features[drawn.second]).sum(1).astype(np.float32)
    right, area = right_pairs(similarity, drawn.same)
    interval = evaluate.bootstrap(right.astype(float), subjects[drawn.first])
    metrics = {
        "images": len(rows),
        "people": len(np.unique(subjects)),
        "pairs": len(right),
        "accuracy": interval.value,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "interval_over": "subjects",
        "area_under_roc": area,
    }
    yaw = data.manifest["yaw"].to_numpy(float)[rows]
    arrays = {"similarity": similarity, "same": drawn.same, "right": right}
    arrays["yaw"] = np.abs(yaw[drawn.first] - yaw[drawn.second]).astype(
        np.float32
    )  # how far apart the heads are turned
    return {"test": metrics}, arrays
