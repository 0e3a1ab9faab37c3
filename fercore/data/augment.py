"""Augmentation of a whole batch at once, on the device where it lies.

torchvision's transforms draw one set of parameters a call; here every image of the batch gets its own at the price of
one ``grid_sample``, which on a CPU is what keeps a small network from waiting for its data.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fercore.recipe import Recipe

MEAN, STD = 0.5, 0.25
MIRRORED = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46,
    *range(39, 35, -1), 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip
"""Of each of the 68 landmarks in iBUG's order, the number of its counterpart on the other side of the face."""


class Augmented(NamedTuple):
    """A batch as training sees it: ``images`` (B, 3, S, S), which of them were ``mirrored`` (B,) bool, and where the 68
    landmarks are now, ``points`` (B, 68, 2) as shares of the side, None where they were not asked for."""

    images: Tensor
    mirrored: Tensor
    points: Tensor | None = None


def normalise(images: Tensor, size: int, standardise: bool = False) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, size, size) float, zero mean, about unit variance; resized when it must be.

    With ``standardise`` mean and variance are each image's own, which takes the strength of the light away.
    """
    x = images.permute(0, 3, 1, 2).float().div_(255).sub_(MEAN).div_(STD)
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    if standardise:
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True).clamp(min=1e-3)
    return x


def uniform(count: int, limit: float, device: torch.device) -> Tensor:
    """(count,) numbers in [-limit, limit]."""
    return (torch.rand(count, device=device) * 2 - 1) * limit


def augment(x: Tensor, recipe: Recipe, points: Tensor | None = None) -> Augmented:
    """Flip, rotate, shift, zoom, change the contrast and erase a rectangle, each image by its own draw.

    x (B, 3, S, S), normalised. The ranges are the recipe's; with all of them zero and ``flip`` off this is the
    identity.
    """
    count, device = len(x), x.device
    if not (recipe.flip or recipe.rotation or recipe.shift or recipe.zoom or recipe.contrast or recipe.erase):
        return Augmented(x, torch.zeros(count, dtype=torch.bool, device=device), points)
    angle = uniform(count, math.radians(recipe.rotation), device)
    scale = uniform(count, recipe.zoom, device).exp()
    mirror = torch.where(torch.rand(count, device=device) < (0.5 if recipe.flip else 0.0), -1.0, 1.0)
    right, down = (uniform(count, 2 * recipe.shift, device) for _ in range(2))
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([mirror * cosine, -sine, right, mirror * sine, cosine, down], 1).view(count, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    gain = uniform(count, recipe.contrast, device).exp().view(-1, 1, 1, 1)
    x = x * gain + uniform(count, recipe.contrast, device).view(-1, 1, 1, 1)
    x = erase(x, recipe.erase) if recipe.erase else x
    return Augmented(x, mirror < 0, None if points is None else follow(points, theta))


def follow(points: Tensor, theta: Tensor) -> Tensor:
    """Where points are after ``affine_grid`` and ``grid_sample`` moved their images.

    points (B, 68, 2), shares of the side, theta (B, 2, 3) -> (B, 68, 2).
    ``p' = A^-1 (p - t)`` with both in -1..1, because theta = [A t] leads from a place to where its pixel comes from. A
    mirrored face, det A < 0, has left and right exchanged.
    """
    square, offset = theta[:, :, :2], theta[:, :, 2]
    moved = torch.linalg.solve(square, (2 * points - 1 - offset[:, None]).mT).mT
    mirrored = torch.linalg.det(square) < 0
    return torch.where(mirrored[:, None, None], moved[:, list(MIRRORED)], moved) / 2 + 0.5


def erase(x: Tensor, share: float) -> Tensor:
    """Replace a rectangle of 10 to 40 % of each side by noise in a ``share`` of the images (random erasing)."""
    count, side, device = len(x), x.shape[-1], x.device
    half = (0.05 + 0.15 * torch.rand(count, 2, device=device)) * side
    middle = torch.rand(count, 2, device=device) * side
    line = torch.arange(side, device=device) + 0.5
    rows = (line[None] - middle[:, :1]).abs() < half[:, :1]  # (B, S)
    columns = (line[None] - middle[:, 1:]).abs() < half[:, 1:]
    chosen = torch.rand(count, device=device) < share
    hole = (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]  # (B, 1, S, S)
    return torch.where(hole, torch.randn_like(x), x)
