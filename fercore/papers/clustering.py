"""k-means at many positions at once, over a stream that need not fit in memory.

Shapes: B maps of a batch, P positions, n points a position, C channels, K clusters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from fercore.errors import ParameterError


def head(batches: Iterable[Tensor], limit: int) -> tuple[Tensor, bool]:
    """The first ``limit`` maps of a stream, and whether that was all of it."""
    kept: list[Tensor] = []
    count = 0
    for batch in batches:
        if count >= limit:
            return torch.cat(kept), False
        kept.append(batch[: limit - count].clone())
        count += len(kept[-1])
        if len(kept[-1]) < len(batch):
            return torch.cat(kept), False
    if not kept:
        raise ParameterError("k-means of the guidance map: the stream of features is empty.")
    return torch.cat(kept), True


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances at every position: (P, n, C), (P, K, C) -> (P, n, K), without |point|^2.

    What is left out is the same for all clusters, so the nearest stays the nearest.
    """
    return centres.square().sum(2)[:, None, :] - 2 * points @ centres.transpose(1, 2)


def lloyd_step(batches: Iterable[Tensor], centres: Tensor) -> tuple[Tensor, Tensor]:
    """One step of k-means over a stream: assign to the nearest centre, then Eq. (3). Returns centres, counts.

    A cluster that got nothing keeps its centre.
    """
    sums, counts = torch.zeros_like(centres), torch.zeros(centres.shape[:2], device=centres.device)
    for batch in batches:
        points = batch.flatten(2).permute(2, 0, 1).float()  # (P, B, C)
        chosen = F.one_hot(squared_distances(points, centres).argmin(2), centres.shape[1]).float()  # (P, B, K)
        sums += chosen.transpose(1, 2) @ points
        counts += chosen.sum(1)
    return torch.where(counts[..., None] > 0, sums / counts.clamp(min=1)[..., None], centres), counts


def kmeans(
    points: Tensor, clusters: int, *, starts: int = 8, steps: int = 100, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """k-means at all positions at once: points (P, n, C) -> centres (P, K, C), counts (P, K).

    k-means++ seeding (Arthur and Vassilvitskii, 2007), Lloyd's algorithm until
    no point moves; of ``starts`` runs each position keeps its best.
    """
    if points.shape[1] < clusters:
        what = f"k-means: {clusters} clusters of {points.shape[1]} images."
        raise ParameterError(what, do="take fewer clusters, or more images (cluster_sample, images)")
    norms = points.square().sum(2)  # (P, n)
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for _ in range(starts):
        centres = _seed(points, norms, clusters, generator)
        before = None
        for _ in range(steps):
            distances = squared_distances(points, centres)
            nearest = distances.argmin(2)  # (P, n)
            if before is not None and torch.equal(nearest, before):
                break
            before = nearest
            chosen = F.one_hot(nearest, clusters).to(points.dtype).transpose(1, 2)  # (P, K, n)
            counts = chosen.sum(2)
            centres = torch.where(counts[..., None] > 0, chosen @ points / counts.clamp(min=1)[..., None], centres)
        inertia = (distances.gather(2, nearest[..., None]).squeeze(2) + norms).sum(1)  # (P,)
        if best is None:
            best = inertia, centres, counts
        else:
            better = inertia < best[0]
            best = (
                torch.where(better, inertia, best[0]),
                torch.where(better[:, None, None], centres, best[1]),
                torch.where(better[:, None], counts, best[2]),
            )
    assert best is not None
    return best[1], best[2]


def _seed(points: Tensor, norms: Tensor, clusters: int, generator: torch.Generator | None) -> Tensor:
    """k-means++: each further centre is drawn with probability proportional to its squared distance."""
    positions, count, _ = points.shape
    rows = torch.arange(positions, device=points.device)
    first = torch.randint(count, (positions,), generator=generator).to(points.device)
    centres = [points[rows, first]]
    for _ in range(clusters - 1):
        near = squared_distances(points, torch.stack(centres, 1)).amin(2) + norms
        weight = near.clamp(min=0) + 1e-12  # all points equal: draw any
        drawn = torch.multinomial(weight.cpu(), 1, generator=generator).squeeze(1).to(points.device)
        centres.append(points[rows, drawn])
    return torch.stack(centres, 1)
