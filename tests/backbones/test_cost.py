"""What one image costs: parameters and operations by hand, and a speed."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import pytest
import torch
from torch import nn

from fercore.backbones.cost import cost, frames_per_second


class Answer(NamedTuple):
    logits: torch.Tensor


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 7)

    def forward(self, images: torch.Tensor) -> Answer:
        return Answer(self.linear(self.norm(self.convolution(images)).mean((2, 3))))


def test_frames_are_those_of_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fercore.backbones.cost.seconds", lambda work, repeats: (work(), 0.5)[1])
    assert frames_per_second(Small(), 10, batch=16) == 32


def test_cost_by_hand() -> None:
    found = cost(Small(), 10)
    assert found.parameters == 3 * 4 * 9 + 2 * 4 + (4 * 7 + 7)
    assert found.multiply_adds == 10 * 10 * 3 * 4 * 9 + 4 * 7
    assert found.flops == 2 * found.multiply_adds
    assert 0 < frames_per_second(Small(), 10, batch=2, repeats=2) < inf
