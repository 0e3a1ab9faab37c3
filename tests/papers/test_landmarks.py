"""Landmarks: they move with their images, errors are those of a loop, and a small network learns where they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, write_squares
from torch.nn import functional as F

from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.data import augment as augmenting
from fercore.data import catalogue, prepared
from fercore.errors import DataError, ParameterError
from fercore.figures import faces as figures_faces
from fercore.heads.anatomy import canonical
from fercore.papers import landmarks as pretraining
from fercore.training import experiments, landmarks

OFF: dict[str, Any] = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "contrast": 0, "erase": 0}


def test_counterparts_are_mutual_and_lie_across_a_face() -> None:
    swap = np.array(augmenting.MIRRORED)
    assert sorted(swap) == list(range(68)) and (swap[swap] == np.arange(68)).all()

    points = canonical().rest[canonical().landmarks]  # a face like its mirror image, x to its left
    assert np.abs(points[swap] * [-1, 1, 1] - points).max() < 0.2


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_points_go_where_their_pixels_go(seed: int) -> None:
    torch.manual_seed(seed)
    recipe = pretraining.recipe(**(OFF | {"flip": True, "rotation": 20, "shift": 0.05, "zoom": 0.2}))
    images, points = torch.zeros(4, 3, 64, 64), torch.full((4, 68, 2), 0.5)
    places = torch.randint(20, 44, (4, 2))
    for image, place, own in zip(images, places, points, strict=True):
        image[:, place[1] - 1 : place[1] + 2, place[0] - 1 : place[0] + 2] = 1.0
        own[30] = (place + 0.5) / 64  # the tip of the nose, its own counterpart
    moved, found = augmenting.augment_both(images, points, recipe)
    line = torch.arange(64) + 0.5
    weight = moved[:, 0] / moved[:, 0].sum((1, 2), keepdim=True)
    centre = torch.stack([(weight.sum(1) * line).sum(1), (weight.sum(2) * line).sum(1)], 1) / 64
    assert (found[:, 30] - centre).abs().max() < 0.6 / 64


def test_a_mirrored_face_has_its_left_on_the_other_side() -> None:
    points = torch.rand(1, 68, 2)
    theta = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    flipped = augmenting.follow(points, theta)
    assert torch.allclose(flipped[0, 36], torch.stack([1 - points[0, 45, 0], points[0, 45, 1]]), atol=1e-6)
    assert torch.allclose(augmenting.follow(flipped, theta), points, atol=1e-6)
    still = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert torch.allclose(augmenting.follow(points, still), points, atol=1e-6)


def test_without_points_images_are_augmented_the_same() -> None:
    recipe, x, points = pretraining.recipe(), torch.randn(8, 3, 32, 32), torch.rand(8, 68, 2)
    torch.manual_seed(1)
    alone = augmenting.augment(x, recipe)
    torch.manual_seed(1)
    assert torch.equal(alone, augmenting.augment_both(x, points, recipe)[0])
    assert F.mse_loss(alone, x) > 0


def test_errors_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    found, true = rng.random((5, 68, 2)), rng.random((5, 68, 2))
    errors = landmarks.distances(found, true)
    for i in range(5):
        width, height = (true[i, :, k].max() - true[i, :, k].min() for k in (0, 1))
        for p in range(68):
            away = math.dist(found[i, p], true[i, p])
            assert errors[i, p] == pytest.approx(away / math.sqrt(width * height))
    assert landmarks.distances(true, true).max() == 0
    assert np.allclose(landmarks.distances(3 * found, 3 * true), errors), "shares do not depend on the scale"


def test_loss_is_that_of_a_loop_and_nothing_at_the_truth() -> None:
    found, true = torch.rand(3, 68, 2), torch.rand(3, 68, 2)
    loss = pretraining.LandmarkLoss()
    value = loss(pretraining.Output(found), {"points": true})["points"].item()
    every = [abs(a - b) for a, b in zip(found.flatten().tolist(), true.flatten().tolist(), strict=True)]
    assert value == pytest.approx(sum(every) / len(every), rel=1e-5)
    assert loss(pretraining.Output(true), {"points": true})["points"].item() == 0


@pytest.mark.parametrize("side", [32, 48, 112])
def test_network_shapes_finite_and_a_gradient_everywhere(side: int) -> None:
    network = pretraining.LandmarkNetwork(side)
    points = network(torch.randn(4, 3, side, side)).points
    assert points.shape == (4, 68, 2) and points.isfinite().all()
    points.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    with pytest.raises(ParameterError, match=r"side of 50 is no multiple of 16"):
        MobileFaceNet(50)


# --- a training run ------------------------------------------------------------------------------------


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "records"))
    entry = catalogue.Entry("landmark-twin", False, lambda _: "landmark-twin", write_squares)
    monkeypatch.setitem(catalogue.DATASETS, "landmark-twin", entry)


def test_landmarks_are_learnt_and_the_record_says_how_well(squares: None) -> None:
    recipe = pretraining.recipe("smoke", images=0, epochs=8, batch_size=16, learning_rate=8e-3, rotation=0, flip=False)
    record = experiments.run(recipe)
    true = catalogue.prepare("landmark-twin").landmarks()
    blind = landmarks.distances(np.broadcast_to(true.mean(0), true.shape), true).mean()
    (first, *_, last) = (row["validation_accuracy"] for row in record.history["method"])
    numbers, arrays = record.metrics["test"], record.arrays()
    assert last > first and numbers["normalised_mean_error"] < 0.5 * blind, "a square is easily found"
    assert numbers["accuracy_low"] <= numbers["accuracy"] <= numbers["accuracy_high"]
    assert numbers["people"] == 4 and numbers["images"] == len(arrays["error"]) == 4 * 18
    assert arrays["error"].mean() == pytest.approx(numbers["normalised_mean_error"], rel=1e-5)
    assert arrays["error_visible"].mean() == pytest.approx(numbers["normalised_mean_error_visible"], rel=1e-5)
    assert np.abs(arrays["yaw"]).max() <= 90
    shown = landmarks.distances(arrays["found"].astype(float), true[arrays["shown_rows"]]).mean(1)
    assert np.allclose(shown, arrays["error"][: len(shown)], atol=2e-3), "what is shown is what was judged"
    assert experiments.run(recipe).started == record.started, "found, not trained again"


def test_who_does_not_know_landmarks_says_so(tmp_path: Path) -> None:
    write_squares(tmp_path / "set", known=False)
    with pytest.raises(DataError, match=r"does not say where landmarks are"):
        prepared.open_prepared(tmp_path / "set").of_landmarks()


def test_landmarks_are_shares_of_the_side(tmp_path: Path) -> None:
    write_squares(tmp_path / "set")
    data = prepared.open_prepared(tmp_path / "set").of_landmarks()
    assert data.classes == CLASSES and data.labels().max() == 2, "what it shows is still known"
    first = pd.read_parquet(tmp_path / "set" / "manifest.parquet")["landmarks"][0].reshape(68, 2)
    assert np.allclose(data.landmarks()[0] * 32, first, atol=1e-4)


# --- figures -------------------------------------------------------------------------------------------


def test_errors_by_yaw_hold_every_image_once() -> None:
    rng = np.random.default_rng(0)
    arrays = {"yaw": rng.uniform(-90, 90, 200), "error": rng.random(200), "error_visible": rng.random(200) / 2}
    numbers = figures_faces.errors_by_yaw(arrays, width=30).figure.numbers
    everything = numbers[numbers["landmarks"] == "all 68"]
    assert everything["images"].sum() == 200 and list(everything["turned by"]) == [15, 45, 75]
    mean = (everything["error"] * everything["images"]).sum() / 200
    assert mean == pytest.approx(100 * arrays["error"].mean())
    assert ((numbers["low"] <= numbers["error"]) & (numbers["error"] <= numbers["high"])).all()


def test_points_are_drawn_where_they_are() -> None:
    images, true = np.zeros((2, 20, 20, 3), np.uint8), np.full((2, 68, 2), 0.25)
    figure = figures_faces.points_on(images, true, true + np.array([0.1, 0]))
    axes = figure.axes[0]
    hollow, filled = axes.lines
    assert hollow.get_xdata()[0] == pytest.approx(0.25 * 20 - 0.5), "pixel centres lie at whole numbers"
    assert filled.get_xdata()[0] == pytest.approx(0.35 * 20 - 0.5)
    assert np.allclose(figure.numbers["mean distance, shares of the side"], 0.1)
