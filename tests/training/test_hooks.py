"""What a paper may decide about an epoch: the order of its images, and what is computed before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_paper
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_paper import ANGLES, Drift, DriftLoss, bits
from torch import Tensor, nn

from fercore.data.augment import normalise
from fercore.data.labels import pose_classes
from fercore.data.prepared import Prepared, open_prepared
from fercore.training import loop
from fercore.training.batches import TrainingSet

TRAIN, VALIDATION = np.arange(30, 60), np.arange(60, 72)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return open_prepared(tiny_paper.write_turned(tmp_path_factory.mktemp("data") / "turned"))


def run(data: Prepared, folder: Path, network: nn.Module, loss: nn.Module, **options: Any) -> tiny_paper.Run:
    recipe = options.pop("recipe", None) or tiny_paper.recipe(flip=True)
    truth = {"pose": pose_classes(data.manifest["yaw"].to_numpy(), ANGLES)}
    rows = {"train": TRAIN, "validation": VALIDATION}
    return loop.fit(recipe, network, loss, data, rows, folder, truth=truth, **options)


def trained(data: Prepared, folder: Path, **options: Any) -> tiny_paper.Run:
    torch.manual_seed(0)
    return run(data, folder, tiny_paper.Network(3), tiny_paper.Loss(), **options)


# --- order ------------------------------------------------------------------------------------------------


def test_without_an_order_every_row_comes_once_by_chance(data: Prepared, tmp_path: Path) -> None:
    loss = DriftLoss()
    run(data, tmp_path, Drift(), loss)
    assert [len(rows) for rows in loss.rows] == [8, 8, 8, 6] * 2
    first, second = ([row for rows in loss.rows[k : k + 4] for row in rows] for k in (0, 4))
    assert sorted(first) == sorted(second) == TRAIN.tolist() and first != second and first != sorted(first)


def test_the_order_is_that_of_seed_fold_and_length(data: Prepared, tmp_path: Path) -> None:
    def rows(name: str, **changes: Any) -> list[list[int]]:
        loss = DriftLoss()
        run(data, tmp_path / name, Drift(), loss, recipe=tiny_paper.recipe(**changes))
        return loss.rows[:4]

    first = rows("first")
    assert rows("method", method="second", momentum=0.5, learning_rate=0.01, weight_decay=0.0) == first
    for name, changes in {"seed": {"seed": 1}, "fold": {"fold": 1}, "length": {"epochs": 3}}.items():
        assert rows(name, **changes) != first, name


def test_training_sees_the_order_of_the_paper(data: Prepared, tmp_path: Path) -> None:
    loss, asked = DriftLoss(), []

    def order(rows: np.ndarray, epoch: int) -> np.ndarray:
        asked.append((rows.tolist(), epoch))
        return rows[::-1].copy() if epoch else np.repeat(rows[:5], 2)

    run(data, tmp_path, Drift(), loss, order=order)
    assert asked == [(TRAIN.tolist(), 0), (TRAIN.tolist(), 1)]
    backwards = TRAIN[::-1].tolist()
    assert loss.rows[:2] == [[30, 30, 31, 31, 32, 32, 33, 33], [34, 34]]
    assert loss.rows[2:] == [backwards[k : k + 8] for k in (0, 8, 16, 24)]


def test_training_sees_the_batches_of_the_paper(data: Prepared, tmp_path: Path) -> None:
    """Tuples of five go through together, whatever the recipe's size of a batch; one image alone is left out."""
    loss, tuples = DriftLoss(), [np.arange(k, k + 5) for k in (30, 40, 50)]
    run(data, tmp_path, Drift(), loss, order=lambda rows, epoch: [*tuples, np.array([30])])
    assert loss.rows == [part.tolist() for part in tuples] * 2


class Process(SimpleNamespace):
    """What the loop asks of one process among several."""

    process_index: int
    num_processes: int


def shared(parts: Sequence[np.ndarray], processes: int) -> list[list[np.ndarray]]:
    """What each process sees of every batch."""
    return [loop._shared(parts, Process(process_index=k, num_processes=processes)) for k in range(processes)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), max_size=8), st.integers(1, 5))
def test_processes_share_every_batch_and_take_as_many_steps(sizes: list[int], processes: int) -> None:
    edges = np.cumsum([0, *sizes])
    parts = [np.random.default_rng(k).permutation(np.arange(*edges[k : k + 2])) for k in range(len(sizes))]
    seen = shared(parts, processes)
    whole = [part for part in parts if len(part) >= 2 * processes]
    assert [len(own) for own in seen] == [len(whole)] * processes, "as many steps, whoever counts"
    for step, part in enumerate(whole):
        own = [steps[step] for steps in seen]
        assert np.concatenate(own).tolist() == part.tolist(), "the batch of one process, in its order"
        assert min(map(len, own)) >= 2 and np.ptp([len(rows) for rows in own]) <= 1


def test_the_number_of_steps_does_not_depend_on_the_processes(data: Prepared, tmp_path: Path) -> None:
    """The rate is counted in whole batches, also where a process sees a part of each."""
    training = loop.Training(
        tiny_paper.recipe(batch_size=10), Drift(), DriftLoss(), loop.Batches(data, TRAIN, 16, 10, "cpu"), None,
        loop.Accelerator(),
    )  # fmt: skip
    torch.manual_seed(0)
    parts = loop.epoch_parts(training, 0)
    torch.manual_seed(0)
    again = loop.epoch_parts(training, 0)
    assert all(map(np.array_equal, parts, again)), "each process draws the same order"
    assert [len(part) for part in parts] == [10, 10, 10]
    assert {len(own) for processes in range(1, 6) for own in shared(parts, processes)} == {3}


# --- refresh ----------------------------------------------------------------------------------------------


def test_a_refresh_sees_the_whole_training_set_before_each_epoch(data: Prepared, tmp_path: Path) -> None:
    network, loss, seen = Drift(), DriftLoss(), []

    def refresh(epoch: int, given: nn.Module, criterion: nn.Module, training: TrainingSet) -> None:
        assert given is network and criterion is loss and len(loss.batches) == 4 * epoch
        seen.append(epoch)
        rows = []
        for batch in training.clean():
            rows += batch["rows"].tolist()
            images = normalise(torch.from_numpy(np.array(data.images[batch["rows"]])), 16)
            assert torch.equal(batch["images"], images)
            assert batch["labels"].tolist() == data.labels()[batch["rows"]].tolist() and "pose" in batch
        assert sorted(rows) == TRAIN.tolist() != rows, "in no order of people"
        augmented = list(training.augmented())
        assert torch.cat([batch["rows"] for batch in augmented]).tolist() == rows
        assert any(batch["mirrored"].any() for batch in augmented)

    run(data, tmp_path, network, loss, refresh=refresh)
    assert seen == [0, 1]


def test_what_a_refresh_returns_is_in_the_history(data: Prepared, tmp_path: Path) -> None:
    _, history = run(data, tmp_path, Drift(), DriftLoss(), refresh=lambda epoch, *_: {"agreement": 0.5 + epoch})
    assert [row["agreement"] for row in history] == [0.5, 1.5]
    assert {"epoch", "train_loss", "train_drift", "first_loss", "validation_accuracy", "seconds"} < set(history[0])
    assert history[0]["first_loss"] == 3, "before the first step, which takes from each of the three weights"
    assert history[1]["first_loss"] < history[0]["train_loss"] < 3


def draws(epoch: int, network: nn.Module, criterion: nn.Module, training: TrainingSet) -> None:
    torch.rand(100 + epoch)
    for batch in training.augmented():
        batch["images"] += 1
    torch.manual_seed(7)


def test_what_a_refresh_draws_does_not_move_what_training_draws(data: Prepared, tmp_path: Path) -> None:
    nothing = bits(trained(data, tmp_path / "nothing", refresh=lambda *_: None))
    assert bits(trained(data, tmp_path / "draws", refresh=draws)) == nothing


def test_a_quiet_training_is_the_same_with_and_without_a_hook(data: Prepared, tmp_path: Path) -> None:
    with_hook = bits(trained(data, tmp_path / "hook", refresh=draws, quiet=True))
    assert bits(trained(data, tmp_path / "none", quiet=True)) == with_hook


# --- what is only written down ----------------------------------------------------------------------------


class Told(DriftLoss):
    """Returns beside its term a number that grows with each batch, and one that is no tensor."""

    def forward(self, output: tiny_paper.Output, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        terms = super().forward(output, batch)
        return terms, {"steps": torch.tensor(float(len(self.batches))), "size": len(batch["labels"])}


def test_what_a_criterion_logs_is_a_mean_over_images_and_no_part_of_the_loss(data: Prepared, tmp_path: Path) -> None:
    _, (first, second) = run(data, tmp_path / "told", Drift(), Told())
    sizes = np.array([8, 8, 8, 6])
    assert first["steps"] == pytest.approx((np.arange(1, 5) * sizes).sum() / 30)
    assert second["steps"] == pytest.approx((np.arange(5, 9) * sizes).sum() / 30)
    assert first["size"] == pytest.approx((sizes**2).sum() / 30)
    assert first["train_loss"] == pytest.approx(first["train_drift"])
    _, (plain, _) = run(data, tmp_path / "plain", Drift(), DriftLoss())
    assert plain["train_loss"] == first["train_loss"] and "steps" not in plain
