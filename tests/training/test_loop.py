"""The loop: it learns, keeps the best epoch, repeats to the bit, and no interruption changes the result."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_paper
import torch
from safetensors import safe_open
from tiny import manifest, write_prepared
from tiny_paper import Drift, DriftLoss, bits, fit, scores, small
from torch import Tensor, nn

from fercore.data import protocols
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import FercoreError, ParameterError
from fercore.papers import lan
from fercore.training import loop
from fercore.training.batches import Batches, predict

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "stripes", manifest(12, 2)))


def rows_of(data: Prepared, part: str) -> np.ndarray:
    return protocols.split(data.manifest, small().protocol)[part]


# --- learning and repeating -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["resnet18", "lan"])
def test_it_learns(method: str, data: Prepared, tmp_path: Path) -> None:
    recipe = small(method=method, epochs=5, learning_rate=0.05)
    network, history = fit(recipe, data, tmp_path)
    rows = rows_of(data, "test")
    (probabilities,) = predict(network, Batches(data, rows, 16, 5, "cpu")).values()
    assert probabilities.shape == (len(rows), 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == data.labels()[rows]).mean() > 0.65, "chance is a third"
    assert history[-1]["train_cross_entropy"] < history[0]["train_cross_entropy"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    terms = [name for name in history[0] if name.startswith("train_") and name != "train_loss"]
    assert terms == (["train_cross_entropy"] if method == "resnet18" else ["train_cross_entropy", "train_map"])
    assert all(row["train_loss"] == pytest.approx(sum(row[name] for name in terms)) for row in history)
    assert not network.training


def test_the_accuracy_of_the_history_is_that_of_the_validation_part(data: Prepared, tmp_path: Path) -> None:
    recipe = small(method="resnet18", epochs=4, learning_rate=0.3)
    network, history = fit(recipe, data, tmp_path)
    rows = rows_of(data, "validation")
    right = predict(network, Batches(data, rows, 16, 256, "cpu"))["expression"].argmax(1) == data.labels()[rows]
    assert right.mean() == max(row["validation_accuracy"] for row in history)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize(("method", "small_epochs"), [("lan", 0), ("resnet18", 1)])
def test_same_seed_same_bits(method: str, small_epochs: int, average: float, data: Prepared, tmp_path: Path) -> None:
    recipe = small(method=method, average=average, epochs=2, small_epochs=small_epochs)
    first = bits(fit(recipe, data, tmp_path / "a"))
    assert bits(fit(recipe, data, tmp_path / "b")) == first
    assert bits(fit(recipe.but(seed=1), data, tmp_path / "c")) != first


def test_methods_see_the_same_batches(data: Prepared, tmp_path: Path) -> None:
    seen: dict[str, list[list[int]]] = {}
    for method in ("resnet18", "lan"):
        recipe = small(method=method, epochs=2)
        torch.manual_seed(0)
        criterion = lan.criterion(recipe, lan.model(recipe, 3))
        seen[method] = []
        inside = criterion.forward

        def forward(output: Any, batch: dict[str, Tensor], rows: Any = seen[method], inside: Any = inside) -> Any:
            rows.append(batch["rows"].tolist())
            return inside(output, batch)

        criterion.forward = forward
        fit(recipe, data, tmp_path / method, criterion=criterion)
    assert seen["resnet18"] == seen["lan"]
    half = len(seen["lan"]) // 2
    assert seen["lan"][:half] != seen["lan"][half:], "another order each epoch"


# --- the best epoch ---------------------------------------------------------------------------------------


def drift(
    data: Prepared, folder: Path, judge: Callable[..., float], loss: DriftLoss | None = None, **changes: Any
) -> tiny_paper.Run:
    """Three epochs of four steps, each of which takes 0.1 from every weight."""
    usual = {"batch_size": 16, "epochs": 3, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    recipe = tiny_paper.recipe(schedule="constant", **(usual | changes))
    rows = {"train": np.arange(60), "validation": np.arange(60, 72)}
    return loop.fit(recipe, Drift(), loss or DriftLoss(), data, rows, folder, judge=judge)


@pytest.mark.parametrize(("judged", "best"), [((0.2, 0.9, 0.4), 2), ((0.5, 0.5, 0.5), 1), ((0.1, 0.2, 0.3), 3)])
def test_the_weights_of_the_best_epoch_are_kept(
    judged: tuple[float, ...], best: int, data: Prepared, tmp_path: Path
) -> None:
    network, history = drift(data, tmp_path, scores(*judged))
    assert [row["validation_accuracy"] for row in history] == list(judged)
    assert network.vector.tolist() == pytest.approx([1 - 0.4 * best] * 2), "of epochs that are as good, the first"


@pytest.mark.parametrize(("judged", "best"), [((0.2, 0.9, 0.4), 2), ((0.1, 0.2, 0.3), 3)])
def test_the_criterion_is_that_of_the_best_epoch(
    judged: tuple[float, ...], best: int, data: Prepared, tmp_path: Path
) -> None:
    class Counted(DriftLoss):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, output: tiny_paper.Output, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            self.steps += 1
            return super().forward(output, batch)

    loss = Counted()
    drift(data, tmp_path, scores(*judged), loss)
    assert loss.steps == 4 * best


def test_the_best_epoch_is_that_of_the_validation_part_at_the_full_size(data: Prepared, tmp_path: Path) -> None:
    seen: list[tuple[list[int], tuple[int, ...]]] = []

    def judge(recipe: Any, network: nn.Module, batches: Batches) -> float:
        (batch,) = batches
        seen.append((batch["rows"].tolist(), tuple(batch["images"].shape[2:])))
        return 0.0

    loss = DriftLoss()
    drift(data, tmp_path, judge, loss, small_epochs=2)
    assert seen == [(list(range(60, 72)), (16, 16))] * 3
    assert [batch["images"].shape[2] for batch in loss.batches] == [10] * 8 + [16] * 4, "two thirds of it at first"


@pytest.mark.parametrize("standardise", [False, True])
def test_images_are_standardised_in_training_as_when_they_are_judged(
    standardise: bool, data: Prepared, tmp_path: Path
) -> None:
    means: list[float] = []

    def judge(recipe: Any, network: nn.Module, batches: Batches) -> float:
        means.extend(batch["images"].mean((1, 2, 3)).abs().max().item() for batch in batches)
        return 0.0

    loss = DriftLoss()
    drift(data, tmp_path, judge, loss, standardise=standardise)
    means.extend(batch["images"].mean((1, 2, 3)).abs().max().item() for batch in loss.batches)
    assert len(means) == 3 + 12
    assert max(means) < 1e-5 if standardise else min(means) > 0.1


def test_the_mean_of_the_weights_is_judged_and_kept(data: Prepared, tmp_path: Path) -> None:
    judged: list[float] = []

    def judge(recipe: Any, network: nn.Module, batches: Batches) -> float:
        judged.append(network.vector[0].item())
        return len(judged) / 3

    network, _ = drift(data, tmp_path, judge, average=0.75)
    weight, mean, ends = 1.0, 0.0, []
    for step in range(12):
        weight -= 0.1
        mean = weight if not step else 0.75 * mean + 0.25 * weight  # the first step begins the mean
        ends += [mean] if step % 4 == 3 else []
    assert judged == pytest.approx(ends, abs=1e-6)
    assert network.vector.tolist() == pytest.approx([ends[-1]] * 2, abs=1e-6)


def test_the_mean_is_of_buffers_too(data: Prepared, tmp_path: Path) -> None:
    """Batch norm's statistics belong to the weights that are averaged."""

    class Counting(Drift):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, images: Tensor) -> Any:
            self.seen += self.training
            return super().forward(images)

    judged: list[float] = []

    def judge(recipe: Any, network: nn.Module, batches: Batches) -> float:
        judged.append(network.seen.item())
        return 0.0

    rows = {"train": np.arange(64), "validation": np.arange(64, 72)}
    recipe = tiny_paper.recipe(average=0.5, batch_size=32, epochs=2)
    loop.fit(recipe, Counting(), DriftLoss(), data, rows, tmp_path, judge=judge)
    assert judged == [1.5, 3.125], "1, then half of each step's and half of what was"


def test_an_epoch_without_a_batch_of_two_images_is_refused(data: Prepared, tmp_path: Path) -> None:
    def order(rows: np.ndarray, epoch: int) -> list[np.ndarray]:
        return [rows[:1]]

    with pytest.raises(FercoreError, match=r"no batch has the two that batch norm needs"):
        fit(small(method="resnet18"), data, tmp_path, order=order)


def test_class_names_travel_with_the_weights(tmp_path: Path) -> None:
    loop.save_weights(Drift(), tmp_path / "deep" / "model.safetensors", ("neutral", "joy"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "deep" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"classes": "neutral,joy"}
    other = Drift()
    nn.init.zeros_(other.vector)
    loop.load_weights(other, tmp_path / "deep" / "model.safetensors")
    assert other.vector.tolist() == [1, 1]


# --- interruptions ----------------------------------------------------------------------------------------


def stop_at(epoch: int, recipe: lan.LANRecipe) -> Callable[..., dict[str, float]]:
    def refresh(now: int, *words: Any) -> dict[str, float]:
        if now == epoch:
            raise KeyboardInterrupt
        return lan.refresh(recipe, now, *words)

    return refresh


@pytest.mark.parametrize(("average", "epoch"), [(0.0, 1), (0.9, 2)])
@pytest.mark.parametrize(("method", "small_epochs"), [("lan", 0), ("resnet18", 1)])
def test_interrupted_and_resumed_is_the_same_run(
    method: str, small_epochs: int, average: float, epoch: int, data: Prepared, tmp_path: Path
) -> None:
    recipe = small(method=method, average=average, small_epochs=small_epochs)
    whole = bits(fit(recipe, data, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, data, tmp_path / "cut", refresh=stop_at(epoch, recipe))
    (tmp_path / "cut" / "checkpoint.123.partial").write_bytes(b"half")
    started: list[int] = []

    def refresh(now: int, *words: Any) -> dict[str, float]:
        started.append(now)
        return lan.refresh(recipe, now, *words)

    assert bits(fit(recipe, data, tmp_path / "cut", refresh=refresh)) == whole
    assert started == list(range(epoch, 3))
    assert bits(fit(recipe, data, tmp_path / "cut", refresh=stop_at(0, recipe))) == whole, "nothing is left to do"


def test_a_criterion_s_parameters_are_resumed(data: Prepared, tmp_path: Path) -> None:
    """A parameter of the loss, and its momentum, go on from where they were."""

    class Learnt(DriftLoss):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, output: tiny_paper.Output, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"drift": self.weight * super().forward(output, batch)["drift"]}

    rows = {"train": np.arange(60), "validation": np.arange(60, 72)}
    ends = []
    for folder, stops in (("whole", (3,)), ("cut", (2, 3))):
        for stop in stops:
            criterion = Learnt()

            def refresh(epoch: int, *_: Any, stop: int = stop) -> None:
                if epoch == stop:
                    raise KeyboardInterrupt

            try:
                loop.fit(
                    tiny_paper.recipe(epochs=3), Drift(), criterion, data, rows, tmp_path / folder, refresh=refresh
                )
            except KeyboardInterrupt:
                assert stop < 3
        ends.append(criterion.weight.item())
    assert ends[0] == ends[1] != 1


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import tiny_paper as t
from fercore.data.prepared import open_prepared

recipe = t.small()
def refresh(epoch, *words):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.lan.refresh(recipe, epoch, *words)
t.fit(recipe, open_prepared(sys.argv[2]), Path(sys.argv[3]), refresh=refresh)
"""


@pytest.mark.apart
def test_killed_and_resumed_is_the_same_run(data: Prepared, tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, Path(__file__).parent, data.path, tmp_path / "cut"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]
    assert bits(fit(small(), data, tmp_path / "cut")) == bits(fit(small(), data, tmp_path / "whole"))


def test_sums_of_several_processes_are_of_all_their_images() -> None:
    both = SimpleNamespace(num_processes=2, device="cpu", reduce=lambda values, how: {"sum": values * 2}[how])
    assert loop._over_processes({"loss": 1.5, "seen": 4.0}, 10, both) == ({"loss": 3.0, "seen": 8.0}, 20)


def test_a_checkpoint_of_another_recipe_is_not_used(data: Prepared, tmp_path: Path) -> None:
    fit(small(epochs=1), data, tmp_path / "a")
    assert bits(fit(small(epochs=1, seed=1), data, tmp_path / "a")) == bits(
        fit(small(epochs=1, seed=1), data, tmp_path / "b")
    )


def test_a_broken_checkpoint_is_named(data: Prepared, tmp_path: Path) -> None:
    fit(small(epochs=1), data, tmp_path)
    file = tmp_path / "checkpoint.pt"
    for damage in (lambda: os.truncate(file, 100), lambda: file.write_bytes(b""), lambda: file.write_text("hello")):
        damage()
        with pytest.raises(FercoreError, match=r"checkpoint.pt can't be read(.|\n)*What to do: delete it"):
            fit(small(epochs=1), data, tmp_path)


def test_full_disk_keeps_the_checkpoint_before(data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bits(fit(small(), data, tmp_path / "whole"))
    save = torch.save

    def full(content: dict[str, Any], path: Path) -> None:
        if len(content["history"]) > 1:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FercoreError, match=r"can't be written .*No space left(.|\n)*goes on from there"):
        fit(small(), data, tmp_path / "cut")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]
    assert bits(fit(small(), data, tmp_path / "cut")) == whole


def test_recipes_at_their_limits(data: Prepared, tmp_path: Path) -> None:
    for number, change in enumerate(({"momentum": 0.0}, {"warmup": 0.0, "average": 1.0}, {"warmup": 1.0})):
        assert len(fit(small(epochs=1, **change), data, tmp_path / str(number))[1]) == 1
    with pytest.raises(ParameterError, match="'batch_size' = 1"):
        small(batch_size=1)


def test_a_loss_that_is_no_number(data: Prepared, tmp_path: Path) -> None:
    with pytest.raises(FercoreError, match=r"loss of lan became (nan|inf)(.|\n)*lower learning_rate"):
        fit(small(learning_rate=1e12, warmup=0.0), data, tmp_path)
