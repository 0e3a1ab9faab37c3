"""Figures of PCDA: channels from landmarks, what was moved, sizes beside the printed ones, every step joined."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from fercore.backbones.ir50 import IR50
from fercore.figures import pcda as figures_pcda
from fercore.papers.pcda import PCDA

matplotlib.use("Agg")


def test_channels_are_high_at_their_landmarks_alone() -> None:
    landmarks = np.full((68, 2), 4.0)  # upper left
    landmarks[48:] = (108.0, 60.0)
    channels = figures_pcda.channels_of(landmarks, 112)
    assert channels.shape == (len(figures_pcda.PARTS), 14, 14)
    for part, heat in zip(figures_pcda.PARTS, channels, strict=True):
        place = np.unravel_index(heat.argmax(), heat.shape)
        assert place == ((7, 13) if part == "mouth" else (0, 0)) and heat.max() == pytest.approx(1)
        assert (heat < 0.01).mean() > 0.9


def test_every_landmark_belongs_to_one_part() -> None:
    assert sorted(k for own in figures_pcda.PARTS.values() for k in own) == list(range(68))


def test_every_step_of_the_overview_is_joined() -> None:
    assert {name for pair in figures_pcda.ARROWS for name in pair} == set(figures_pcda.STEPS)
    assert len(figures_pcda.overview().figure.numbers) == len(figures_pcda.STEPS)


def test_points_are_drawn_before_and_after() -> None:
    before, after = np.zeros((4, 2)), np.ones((4, 2))
    numbers = figures_pcda.pulled(before, after, np.array([0, 0, 1, 1]), np.array([3]), ["a", "b"]).figure.numbers
    assert numbers["anchor"].tolist() == [False, False, False, True] and numbers["label"].tolist() == [
        "a",
        "a",
        "b",
        "b",
    ]
    assert (numbers[["x before", "y before"]] == 0).all(None) and (numbers[["x after", "y after"]] == 1).all(None)


def test_sizes_add_up_and_count_what_is_there() -> None:
    torch.manual_seed(0)
    network = PCDA(5, backbone=IR50(8), dimensions=24, heads=3)
    table = figures_pcda.sizes(network).set_index("module")
    parts, whole = table.drop(index="together"), table.loc["together"]
    for column in ("parameters, M", "multiply-adds, G", "two a pair, G"):
        assert parts[column].sum() == pytest.approx(whole[column])
    assert whole["parameters, M"] == sum(p.numel() for p in network.parameters()) / 1e6
    # 196 positions embedded, two blocks of 197 tokens: projections, the mean of the values, the MLP; the classifier
    d = 24
    block = 197 * (4 * d * d + 8 * d * d) + 2 * 197 * 197 * d
    adds = 196 * (32 + 128) * d + 2 * block + d * 5
    assert table.loc["cross attention module", "multiply-adds, G"] * 1e9 == pytest.approx(adds)
    assert parts["printed, M"].tolist() == [17.6, 1.0, 15.6] and whole["printed FLOPs, G"] == 9.3
