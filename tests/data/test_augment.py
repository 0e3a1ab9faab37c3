"""Augmentation: it changes what it says, and what is known of an image moves with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
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


def thetas(monkeypatch: pytest.MonkeyPatch, count: int = 4000, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """The matrices (B, 2, 3) by which a batch is moved, and which of its images were mirrored."""
    seen: list[Tensor] = []
    grid = F.affine_grid

    def spied(theta: Tensor, *words: Any, **more: Any) -> Tensor:
        seen.append(theta)
        return grid(theta, *words, **more)

    monkeypatch.setattr(F, "affine_grid", spied)
    torch.manual_seed(0)
    found = augment(torch.zeros(count, 3, 2, 2), recipe(**(OFF | changes)))
    return seen[0].numpy(), found.mirrored.numpy()


def test_images_are_turned_moved_and_enlarged_within_the_recipe_s_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"rotation": 20.0, "shift": 0.1, "zoom": 0.3}
    theta, mirrored = thetas(monkeypatch, flip=True, **limits)
    square, offset = theta[:, :, :2], theta[:, :, 2]
    scale = np.sqrt(np.abs(np.linalg.det(square)))
    assert (np.linalg.det(square) < 0).tolist() == mirrored.tolist() and 0.45 < mirrored.mean() < 0.55
    product = square.transpose(0, 2, 1) @ square
    assert product == pytest.approx(scale[:, None, None] ** 2 * np.eye(2), abs=1e-5), "nothing is sheared"
    assert np.abs(np.log(scale)).max() == pytest.approx(0.3, abs=0.005) and abs(np.log(scale).mean()) < 0.01
    assert np.abs(offset).max(0) == pytest.approx(2 * 0.1, abs=0.005) and np.abs(offset.mean(0)).max() < 0.01
    angle = np.degrees(np.arctan2(-square[:, 0, 1], square[:, 1, 1]))
    assert np.abs(angle).max() == pytest.approx(20, abs=0.2) and abs(angle.mean()) < 1
    draws = np.stack([scale, angle, *offset.T])
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.06, "each by its own draw"


@pytest.mark.parametrize("name", ["rotation", "shift", "zoom"])
def test_one_change_is_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theta, _ = thetas(monkeypatch, 50, **{name: 0.2 if name != "rotation" else 20})
    square, offset = theta[:, :, :2], theta[:, :, 2]
    assert offset.any() == (name == "shift")
    assert np.ptp(np.linalg.det(square)) > 0.1 if name == "zoom" else np.linalg.det(square) == pytest.approx(1)
    assert square[:, 0, 1].any() == (name == "rotation")


def test_what_comes_into_the_picture_is_what_lay_at_its_border() -> None:
    torch.manual_seed(0)
    found = augment(torch.full((40, 3, 12, 12), 7.0), recipe(**(OFF | {"rotation": 30, "shift": 0.3, "zoom": 0.3})))
    assert (found.images - 7).abs().max() < 1e-4


def test_every_image_has_a_contrast_and_a_brightness_of_its_own() -> None:
    torch.manual_seed(0)
    x = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)], 3).flatten(3).repeat(2000, 1, 1, 1)
    found = augment(x, recipe(**(OFF | {"contrast": 0.4}))).images
    dark, bright = (found[:, :, :, k::2].flatten(1) for k in (0, 1))
    assert dark.std(1).max() < 1e-5 and bright.std(1).max() < 1e-5, "the same all over an image"
    gain, offset = (bright - dark)[:, 0].numpy(), dark[:, 0].numpy()
    for draw in (np.log(gain), offset):
        assert np.abs(draw).max() == pytest.approx(0.4, abs=0.01) and abs(draw.mean()) < 0.03
    assert abs(np.corrcoef(np.log(gain), offset)[0, 1]) < 0.1


def test_what_is_erased_is_a_rectangle_of_noise_in_a_share_of_the_images() -> None:
    torch.manual_seed(0)
    x = torch.full((3000, 3, 40, 40), 9.0)
    found = erase(x, 0.3)
    holes = (found != x).any(1)
    touched = holes.flatten(1).any(1)
    assert 0.25 < touched.float().mean() < 0.32, "a few lie outside the grid"
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :]), "rectangles"
    for side in (rows[touched].sum(1), columns[touched].sum(1)):
        assert side.max() == 16 and side.float().quantile(0.05) >= 2, "up to 40 % of the side"
    assert (rows[touched].sum(1) != columns[touched].sum(1)).float().mean() > 0.5
    noise = found[holes[:, None].expand_as(found)]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    middle = (rows[touched].float() @ torch.arange(40.0)) / rows[touched].sum(1)
    assert 14 < middle.mean() < 25 and middle.std() > 8, "anywhere"


def test_a_picture_is_normalised_to_the_book_s_mean_and_spread() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 8, 8, 3)
    assert normalise(pixels, 8)[0, :, 3, 3].tolist() == pytest.approx([-2, -1.2, 2])
    image = torch.randint(0, 255, (1, 32, 32, 3), dtype=torch.uint8)
    small = normalise(image, 8)
    assert small.shape == (1, 3, 8, 8) and small.std() < 0.6 * normalise(image, 32).std(), "an average, not a sample"


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
