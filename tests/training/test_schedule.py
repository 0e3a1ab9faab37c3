"""The learning rate by hand, the rate that each step really takes, and the optimiser's own arithmetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_paper
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import manifest, write_prepared
from tiny_paper import Drift, DriftLoss
from torch import nn

from fercore.data.prepared import Prepared, open_prepared
from fercore.training import loop


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "stripes", manifest(12, 2)))


def rates(steps: int, **changes: Any) -> list[float]:
    """The share of the rate at each step of all epochs."""
    recipe = tiny_paper.recipe(**changes)
    return [loop.rate(recipe, epoch, step, steps) for epoch in range(recipe.epochs) for step in range(steps)]


# --- by hand ----------------------------------------------------------------------------------------------

HALF = [0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(1, 5)]
"""Half a cosine over four steps."""
BY_HAND: dict[str, tuple[int, dict[str, Any], list[float]]] = {
    "cosine": (2, {"epochs": 2}, HALF),
    "cosine, however the epochs are cut": (4, {"epochs": 1}, HALF),
    "warm-up": (4, {"epochs": 2, "warmup": 0.5}, [1 / 4, 2 / 4, 3 / 4, 1, *HALF]),
    "warm-up within an epoch": (5, {"epochs": 1, "warmup": 0.2}, [1, *HALF]),
    "final rate": (2, {"epochs": 2, "final_rate": 0.2}, [0.2 + 0.8 * share for share in HALF]),
    "final rate of all": (2, {"epochs": 2, "final_rate": 1.0}, [1.0] * 4),
    "warm-up alone": (4, {"epochs": 1, "warmup": 1.0}, [1 / 4, 2 / 4, 3 / 4, 1]),
    "step": (2, {"epochs": 4, "schedule": "step", "decay": 0.1, "decay_epochs": 2}, [1] * 4 + [0.1] * 4),
    "step by step": (1, {"epochs": 3, "schedule": "step", "decay": 0.5, "decay_epochs": 1}, [1, 0.5, 0.25]),
    "step after a warm-up": (
        *(2, {"epochs": 2, "schedule": "step", "warmup": 0.5, "decay": 0.1, "decay_epochs": 1}),
        [1 / 2, 1, 0.1, 0.1],
    ),
    "constant": (3, {"epochs": 2, "schedule": "constant", "final_rate": 0.1}, [1] * 6),
    "constant after a warm-up": (2, {"epochs": 2, "schedule": "constant", "warmup": 0.5}, [1 / 2, 1, 1, 1]),
}


@pytest.mark.parametrize(("steps", "changes", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_rate_by_hand(steps: int, changes: dict[str, Any], expected: list[float]) -> None:
    assert rates(steps, **changes) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 60), st.integers(1, 6), st.floats(0, 1), st.sampled_from(("cosine", "step", "constant")),
    st.floats(0, 1),
)  # fmt: skip
def test_rate_rises_and_never_rises_again(
    steps: int, epochs: int, warmup: float, schedule: str, final_rate: float
) -> None:
    found = rates(steps, epochs=epochs, warmup=warmup, schedule=schedule, final_rate=final_rate, decay_epochs=2)
    assert all(0 <= value <= 1 + 1e-9 for value in found)
    rising = sum((k + 1) / len(found) < warmup for k in range(len(found)))
    assert np.all(np.diff(found[:rising]) > 0) and np.all(np.diff(found[rising:]) <= 1e-12)


# --- in the loop ------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[set[float]]:
    """The learning rates of all groups at each step of every optimiser that is made from now on."""
    seen: list[set[float]] = []
    make = loop.make_optimiser

    def spied(*words: Any) -> torch.optim.Optimizer:
        optimiser = make(*words)
        optimiser.register_step_pre_hook(lambda own, *_: seen.append({group["lr"] for group in own.param_groups}))
        return optimiser

    monkeypatch.setattr(loop, "make_optimiser", spied)
    return seen


def run(data: Prepared, folder: Path, network: nn.Module | None = None, **changes: Any) -> Drift:
    """Two epochs of three steps; the network as the last one leaves it."""
    recipe = tiny_paper.recipe(**({"batch_size": 20, "epochs": 2, "schedule": "constant"} | changes))
    rows = {"train": np.arange(60), "validation": np.arange(60, 72)}
    network = network or Drift()
    return loop.fit(recipe, network, DriftLoss(), data, rows, folder, judge=tiny_paper.scores(*range(9)))[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "cosine", "warmup": 0.3, "final_rate": 0.1},
        {"schedule": "step", "decay": 0.3, "decay_epochs": 1},
        {"schedule": "constant", "warmup": 0.5, "optimiser": "adamw"},
    ],
    ids=["cosine", "step", "constant"],
)
def test_each_step_takes_the_rate_of_the_schedule(
    changes: dict[str, Any], data: Prepared, tmp_path: Path, used: list[set[float]]
) -> None:
    run(data, tmp_path, learning_rate=0.02, **changes)
    assert all(len(groups) == 1 for groups in used), "weights with and without decay have one rate"
    expected = [0.02 * share for share in rates(3, epochs=2, **changes)]
    assert [min(groups) for groups in used] == pytest.approx(expected) and len(set(expected)) > 1


def test_an_order_s_own_batches_are_counted_as_steps(data: Prepared, tmp_path: Path, used: list[set[float]]) -> None:
    recipe = tiny_paper.recipe(batch_size=20, epochs=2)
    rows = {"train": np.arange(60), "validation": np.arange(60, 72)}
    batches = [np.arange(5), np.arange(5, 10)]
    loop.fit(recipe, Drift(), DriftLoss(), data, rows, tmp_path, order=lambda *_: batches)
    assert [min(groups) for groups in used] == pytest.approx([0.05 * share for share in HALF])


# --- the optimiser ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_momentum_is_nesterov_s(momentum: float, data: Prepared, tmp_path: Path) -> None:
    network = run(data, tmp_path, learning_rate=0.1, momentum=momentum, weight_decay=0.0)
    weight, velocity = 1.0, 0.0
    for _ in range(6):
        velocity = momentum * velocity + 1  # the gradient is 1
        weight -= 0.1 * (1 + momentum * velocity)
    assert network.vector.tolist() == pytest.approx([weight] * 2, abs=1e-5)


def test_weights_of_one_axis_do_not_decay(data: Prepared, tmp_path: Path) -> None:
    network = run(data, tmp_path, learning_rate=0.1, momentum=0.0, weight_decay=0.2)
    weight = 1.0
    for _ in range(6):
        weight -= 0.1 * (1 + 0.2 * weight)
    assert network.matrix.item() == pytest.approx(weight, abs=1e-5)
    assert network.vector.tolist() == pytest.approx([1 - 0.6] * 2, abs=1e-5)


def test_adamw_by_hand(data: Prepared, tmp_path: Path) -> None:
    """With a gradient that is always 1 Adam's step is the rate itself; the decay is taken off apart."""
    network = run(data, tmp_path, optimiser="adamw", learning_rate=0.1, weight_decay=0.2)
    weight = 1.0
    for _ in range(6):
        weight = weight * (1 - 0.1 * 0.2) - 0.1
    assert network.matrix.item() == pytest.approx(weight, abs=1e-5)
    assert network.vector.tolist() == pytest.approx([1 - 0.6] * 2, abs=1e-5)


def test_what_is_frozen_is_not_trained_and_what_a_criterion_has_is() -> None:
    network = tiny_paper.Network(3)
    network.pose.requires_grad_(False)
    loss = tiny_paper.Loss()
    optimiser = loop.make_optimiser(tiny_paper.recipe(weight_decay=0.3), network, loss)
    decayed, plain = optimiser.param_groups
    assert {id(p) for p in decayed["params"]} == {id(network.backbone.weight), id(network.classifier.weight)}
    assert {id(p) for p in plain["params"]} == {id(network.backbone.bias), id(network.classifier.bias), id(loss.logit)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
