"""Augmentation: it changes what it says, and what is known of an image moves with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fercore.data.augment import MIRRORED, augment, erase, follow, normalise
from fercore.heads.anatomy import canonical
from fercore.papers import lan
from fercore.recipe import Recipe

OFF: dict[str, Any] = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "contrast": 0, "erase": 0}


def recipe(**changes: Any) -> Recipe:
    return lan.recipe("smoke", **changes)


def test_standardised_images_do_not_know_how_bright_the_light_was() -> None:
    dark = torch.randint(0, 100, (4, 20, 20, 3), dtype=torch.uint8)
    bright = dark * 2 + 30
    plain, own = (normalise(dark, 16, standardise) for standardise in (False, True))
    assert own.mean((1, 2, 3)).abs().max() < 1e-5 and (own.var((1, 2, 3)) - 1).abs().max() < 1e-4
    assert torch.allclose(own, normalise(bright, 16, True), atol=1e-4)
    assert not torch.allclose(plain, normalise(bright, 16), atol=0.1)
    assert torch.isfinite(normalise(torch.full((1, 8, 8, 3), 7, dtype=torch.uint8), 8, True)).all(), "an even image"


def test_augmentation_changes_what_it_says() -> None:
    x = torch.randn(64, 3, 16, 16)
    still = augment(x, recipe(**OFF))
    assert still.images is x and not still.mirrored.any() and still.points is None
    flipped = augment(x, recipe(**(OFF | {"flip": True})))
    turned = [bool(torch.allclose(a, b.flip(2), atol=1e-4)) for a, b in zip(flipped.images, x, strict=True)]
    same = [bool(torch.allclose(a, b, atol=1e-4)) for a, b in zip(flipped.images, x, strict=True)]
    assert 16 < sum(turned) < 48 and sum(turned) + sum(same) == 64 and flipped.mirrored.tolist() == turned
    holes = (erase(x, 1.0) != x).any(1).flatten(1).float().mean(1)
    assert holes.mean() > 0 and holes.max() <= 0.25 and torch.equal(erase(x, 0.0), x)
    brighter = augment(x, recipe(**(OFF | {"contrast": 0.3}))).images
    assert brighter.std((1, 2, 3)).div(x.std((1, 2, 3))).log().abs().max() < 0.31
    everything = augment(x, recipe()).images
    assert everything.shape == x.shape and everything.isfinite().all()


# --- landmarks ----------------------------------------------------------------------------------------------


def test_counterparts_are_mutual_and_lie_across_a_face() -> None:
    swap = np.array(MIRRORED)
    assert sorted(swap) == list(range(68)) and (swap[swap] == np.arange(68)).all()

    points = canonical().rest[canonical().landmarks]  # a face like its mirror image, x to its left
    assert np.abs(points[swap] * [-1, 1, 1] - points).max() < 0.2


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_points_go_where_their_pixels_go(seed: int) -> None:
    torch.manual_seed(seed)
    changes = recipe(**(OFF | {"flip": True, "rotation": 20, "shift": 0.05, "zoom": 0.2}))
    images, points = torch.zeros(4, 3, 64, 64), torch.full((4, 68, 2), 0.5)
    places = torch.randint(20, 44, (4, 2))
    for image, place, own in zip(images, places, points, strict=True):
        image[:, place[1] - 1 : place[1] + 2, place[0] - 1 : place[0] + 2] = 1.0
        own[30] = (place + 0.5) / 64  # the tip of the nose, its own counterpart
    moved, _, found = augment(images, changes, points)
    line = torch.arange(64) + 0.5
    weight = moved[:, 0] / moved[:, 0].sum((1, 2), keepdim=True)
    centre = torch.stack([(weight.sum(1) * line).sum(1), (weight.sum(2) * line).sum(1)], 1) / 64
    assert (found[:, 30] - centre).abs().max() < 0.6 / 64


def test_a_mirrored_face_has_its_left_on_the_other_side() -> None:
    points = torch.rand(1, 68, 2)
    theta = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    flipped = follow(points, theta)
    assert torch.allclose(flipped[0, 36], torch.stack([1 - points[0, 45, 0], points[0, 45, 1]]), atol=1e-6)
    assert torch.allclose(follow(flipped, theta), points, atol=1e-6)
    still = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert torch.allclose(follow(points, still), points, atol=1e-6)


def test_without_points_images_are_augmented_the_same() -> None:
    x, points = torch.randn(8, 3, 32, 32), torch.rand(8, 68, 2)
    torch.manual_seed(1)
    alone = augment(x, recipe())
    torch.manual_seed(1)
    both = augment(x, recipe(), points)
    assert torch.equal(alone.images, both.images) and torch.equal(alone.mirrored, both.mirrored)
    assert alone.points is None and F.mse_loss(alone.images, x) > 0
