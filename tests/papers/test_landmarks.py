"""Landmarks: they move with their images, errors are those of a loop, and a small network learns where they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import write_squares

from fercore import intervals
from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.data import catalogue, prepared
from fercore.errors import DataError, ParameterError
from fercore.figures import faces as figures_faces
from fercore.papers import landmarks, pcda
from fercore.training import experiments


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


class Knows(torch.nn.Module):
    """Answers with what the batch holds in place of images."""

    def forward(self, images: torch.Tensor) -> landmarks.Output:
        return landmarks.Output(images)


class Few:
    """Batches of some rows, which hold the answers."""

    def __init__(self, points: np.ndarray, found: np.ndarray, rows: np.ndarray) -> None:
        self.truth, self.rows, self.found = {"points": torch.from_numpy(points)}, rows, torch.from_numpy(found[rows])

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        yield from ({"images": part} for part in self.found.split(3))


def test_a_split_is_judged_and_tested_by_its_own_truth() -> None:
    rng = np.random.default_rng(0)
    points, rows = rng.random((12, 68, 2)).astype(np.float32), np.array([9, 2, 7, 11])
    visible, found = rng.random((12, 68)) < np.linspace(0.2, 1, 12)[:, None], points.copy()
    found[:, :20] += 0.2 * rng.random((12, 20, 2)).astype(np.float32)
    table = pd.DataFrame({"subject": [f"p{k // 2}" for k in range(12)], "sample": [f"s{k}" for k in range(12)]})
    table = table.assign(yaw=np.arange(12.0), visible=list(visible))
    data, recipe = SimpleNamespace(manifest=table, landmarks=lambda: points), landmarks.recipe("smoke")
    assert landmarks.judge(recipe, Knows(), Few(points, points, rows)) == 1
    metrics, arrays = landmarks.test(recipe, Knows(), data, rows, Few(points, found, rows))
    error = landmarks.distances(found, points)[rows]
    near = error < 0.05
    assert landmarks.judge(recipe, Knows(), Few(points, found, rows)) == near.mean() < 1
    seen = [error[k][visible[row]] for k, row in enumerate(rows)]
    assert metrics["test"] == pytest.approx({
        "images": 4, "people": 4, "accuracy": near.mean(), "normalised_mean_error": error.mean(),
        "normalised_mean_error_visible": np.concatenate(seen).mean(),
    })  # fmt: skip
    assert arrays["error_visible"] == pytest.approx([own.mean() for own in seen], rel=1e-5)
    assert arrays["error"] == pytest.approx(error.mean(1), rel=1e-5) and arrays["near"] == pytest.approx(near.mean(1))
    assert arrays["yaw"].tolist() == rows.tolist() == arrays["shown_rows"].tolist()
    assert arrays["samples"].tolist() == [f"s{row}" for row in rows]
    assert arrays["people"].tolist() == [f"p{row // 2}" for row in rows]
    assert np.allclose(arrays["found"], found[rows], atol=1e-3)


def test_a_run_that_starts_from_landmarks_meets_pictures_of_the_kind_they_were_learnt_from() -> None:
    for changes in ({}, {"standardise": True}, {"image_size": 64}):
        run = pcda.recipe("smoke", **changes)
        found = landmarks.pretraining_of(run)
        assert (found.image_size, found.standardise, found.preset) == (run.image_size, run.standardise, "smoke")


def test_loss_is_that_of_a_loop_and_nothing_at_the_truth() -> None:
    found, true = torch.rand(3, 68, 2), torch.rand(3, 68, 2)
    loss = landmarks.LandmarkLoss()
    value = loss(landmarks.Output(found), {"points": true})["points"].item()
    every = [abs(a - b) for a, b in zip(found.flatten().tolist(), true.flatten().tolist(), strict=True)]
    assert value == pytest.approx(sum(every) / len(every), rel=1e-5)
    assert loss(landmarks.Output(true), {"points": true})["points"].item() == 0


@pytest.mark.parametrize("side", [32, 48, 112])
def test_network_shapes_finite_and_a_gradient_everywhere(side: int) -> None:
    network = landmarks.LandmarkNetwork(side)
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


@pytest.mark.apart
def test_landmarks_are_learnt_and_the_record_says_how_well(squares: None) -> None:
    recipe = landmarks.recipe("smoke", images=0, epochs=8, batch_size=16, learning_rate=8e-3, rotation=0, flip=False)
    record = experiments.run(recipe)
    true = catalogue.prepare("landmark-twin").landmarks()
    blind = landmarks.distances(np.broadcast_to(true.mean(0), true.shape), true).mean()
    (first, *_, last) = (row["validation_accuracy"] for row in record.history["method"])
    numbers, arrays = record.metrics["test"], record.arrays()
    assert last > first and numbers["normalised_mean_error"] < 0.5 * blind, "a square is easily found"
    found = intervals.estimate([record])
    assert found.low < found.value < found.high and found.over == "4 people"
    assert found.value == pytest.approx(numbers["accuracy"], rel=1e-5)
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
        landmarks.truth(landmarks.recipe(), prepared.open_prepared(tmp_path / "set"))


def test_landmarks_are_shares_of_the_side(tmp_path: Path) -> None:
    write_squares(tmp_path / "set")
    data = prepared.open_prepared(tmp_path / "set")
    first = pd.read_parquet(tmp_path / "set" / "manifest.parquet")["landmarks"][0].reshape(68, 2)
    (points,) = landmarks.truth(landmarks.recipe(), data).values()
    assert points.values.shape == (len(data), 68, 2) and np.allclose(points.values[0] * 32, first, atol=1e-4)


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
