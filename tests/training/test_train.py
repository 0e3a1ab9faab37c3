"""Training: it learns, the same seed gives the same bits, and no interruption changes the result."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, manifest, write_prepared
from torch import Tensor, nn

from fercore import cli
from fercore.data import parts, protocols
from fercore.data.augment import augment, erase, normalise
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.papers import lan, pcda
from fercore.recipe import Recipe
from fercore.training import experiments, train

SMALL = {"image_size": 16, "width": 8, "batch_size": 16, "cluster_sample": 32, "epochs": 3}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs that are compared bit by bit, also with those of another process, use as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "stripes", manifest(12, 2)))


def small(**changes: Any) -> lan.LANRecipe:
    return lan.recipe("smoke", backbone_epochs=0, **(SMALL | changes))


def fit(
    recipe: lan.LANRecipe, data: Prepared, folder: Path, **options: Any
) -> tuple[nn.Module, list[dict[str, float]]]:
    """A run as :mod:`fercore.training.experiments` starts it."""
    torch.manual_seed(recipe.seed)
    network = lan.model(recipe, len(data.classes))
    loss = options.pop("criterion", None) or lan.criterion(recipe, network)
    rows = protocols.split(data.manifest, recipe.protocol, recipe.fold)
    options.setdefault("refresh", lambda *words: lan.refresh(recipe, *words))
    return train.fit(recipe, network, loss, data, rows, folder, **options)


def bits(run: tuple[nn.Module, list[dict[str, float]]]) -> tuple[list[dict[str, float]], list[bytes]]:
    """History without its seconds, and weights, to be compared for equality."""
    network, history = run
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return rows, [value.numpy().tobytes() for value in network.state_dict().values()]


# --- learning and repeating -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["resnet18", "lan"])
def test_it_learns(method: str, data: Prepared, tmp_path: Path) -> None:
    recipe = small(method=method, epochs=5, learning_rate=0.05)
    network, history = fit(recipe, data, tmp_path)
    rows = protocols.split(data.manifest, recipe.protocol)["test"]
    probabilities = train.predict(network, train.Batches(data, rows, 16, 5, "cpu"))
    assert probabilities.shape == (len(rows), 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == data.labels()[rows]).mean() > 0.65, "chance is a third"
    assert history[-1]["train_cross_entropy"] < history[0]["train_cross_entropy"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    terms = [name for name in history[0] if name.startswith("train_") and name != "train_loss"]
    assert terms == (["train_cross_entropy"] if method == "resnet18" else ["train_cross_entropy", "train_map"])
    assert all(row["train_loss"] == pytest.approx(sum(row[name] for name in terms)) for row in history)
    assert not network.training


def test_the_best_epoch_is_kept(data: Prepared, tmp_path: Path) -> None:
    recipe = small(method="resnet18", epochs=4, learning_rate=0.3)
    network, history = fit(recipe, data, tmp_path)
    rows = protocols.split(data.manifest, recipe.protocol)["validation"]
    right = train.predict(network, train.Batches(data, rows, 16, 256, "cpu")).argmax(1) == data.labels()[rows]
    assert right.mean() == max(row["validation_accuracy"] for row in history)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_same_seed_same_bits(average: float, data: Prepared, tmp_path: Path) -> None:
    recipe = small(average=average, epochs=2, small_epochs=1)
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


# --- interruptions ----------------------------------------------------------------------------------------


def stop_at(epoch: int, recipe: lan.LANRecipe) -> Callable[..., bool]:
    def refresh(now: int, *words: Any) -> bool:
        if now == epoch:
            raise KeyboardInterrupt
        return lan.refresh(recipe, now, *words)

    return refresh


@pytest.mark.parametrize(("average", "epoch"), [(0.0, 1), (0.9, 2)])
def test_interrupted_and_resumed_is_the_same_run(average: float, epoch: int, data: Prepared, tmp_path: Path) -> None:
    recipe = small(average=average, small_epochs=1)
    whole = bits(fit(recipe, data, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, data, tmp_path / "cut", refresh=stop_at(epoch, recipe))
    (tmp_path / "cut" / "checkpoint.123.partial").write_bytes(b"half")
    started: list[int] = []

    def refresh(now: int, *words: Any) -> bool:
        started.append(now)
        return lan.refresh(recipe, now, *words)

    assert bits(fit(recipe, data, tmp_path / "cut", refresh=refresh)) == whole
    assert started == list(range(epoch, 3))
    assert bits(fit(recipe, data, tmp_path / "cut", refresh=stop_at(0, recipe))) == whole, "nothing is left to do"


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import test_train as t
from fercore.data.prepared import open_prepared

recipe = t.small()
def refresh(epoch, *words):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.lan.refresh(recipe, epoch, *words)
t.fit(recipe, open_prepared(sys.argv[2]), Path(sys.argv[3]), refresh=refresh)
"""


def test_killed_and_resumed_is_the_same_run(data: Prepared, tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, Path(__file__).parent, data.path, tmp_path / "cut"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]
    assert bits(fit(small(), data, tmp_path / "cut")) == bits(fit(small(), data, tmp_path / "whole"))


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


# --- the pieces -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1))
def test_rate_rises_to_one_and_falls_to_zero(total: int, warmup: float) -> None:
    rates = [train.rate(step, total, warmup) for step in {0, total // 3, total // 2, total - 1}]
    assert all(0 <= value <= 1 + 1e-9 for value in rates)


def test_rate_by_hand() -> None:
    rates = [train.rate(step, 10, 0.2) for step in range(10)]
    assert rates[:2] == [0.5, 1.0] and rates[-1] == pytest.approx(0) and rates[5] == pytest.approx(0.5)
    assert rates[1:] == sorted(rates[1:], reverse=True) and len(set(rates[1:])) == 9
    left = [train.rate(step, 10, 0.2, final=0.3) for step in range(10)]
    assert left[:2] == rates[:2] and left[-1] == pytest.approx(0.3)
    assert left[2:] == pytest.approx([0.3 + 0.7 * value for value in rates[2:]])
    assert train.rate(9, 10, 1.0) == 1 and train.rate(0, 1000, 0.0) == pytest.approx(1, abs=1e-4)


def test_predictions_come_in_the_order_of_the_rows(data: Prepared) -> None:
    recipe = small(method="resnet18")
    network = lan.model(recipe, 3)
    rows = np.array([40, 3, 17, 5, 60, 61, 2])
    found = train.predict(network, train.Batches(data, rows, 16, 3, "cpu"))
    for row, probabilities in zip(rows, found, strict=True):
        image = normalise(torch.from_numpy(np.array(data.images[[row]])), 16)
        with torch.no_grad():
            expected = network(image).logits.softmax(1)[0]
        assert probabilities == pytest.approx(expected.numpy(), abs=1e-5)


def test_batches_hold_every_row_once_a_pass(data: Prepared) -> None:
    batches = train.Batches(data, np.arange(5, 38), 24, 16, "cpu")
    recipe = small(batch_size=16)
    torch.manual_seed(0)
    drawn = list(batches.shuffled(recipe, 16))
    assert sum(len(batch["rows"]) for batch in drawn) == 32, "the last batch of one is left out"
    assert len(set(torch.cat([batch["rows"] for batch in drawn]).tolist())) == 32
    for batch in batches:
        assert batch["images"].shape == (len(batch["rows"]), 3, 24, 24)
        assert batch["labels"].tolist() == data.labels()[batch["rows"].numpy()].tolist()
    torch.manual_seed(0)
    shares = [[b["rows"] for b in batches.shuffled(recipe, 16, k, 2)] for k in (0, 1)]
    torch.manual_seed(0)
    again = [b["rows"] for b in batches.shuffled(recipe, 16, 0, 2)]
    assert all(map(torch.equal, shares[0], again))


def test_thinned_rows_are_a_seeded_subset() -> None:
    rows = np.arange(100, 200)
    assert parts.thinned(rows, small(images=0)) is rows and parts.thinned(rows, small(images=100)) is rows
    first = parts.thinned(rows, small(images=30))
    assert len(set(first)) == 30 and set(first) <= set(rows) and (np.diff(first) > 0).all()
    assert np.array_equal(first, parts.thinned(rows, small(images=30)))
    assert not np.array_equal(first, parts.thinned(rows, small(images=30, seed=1)))


@pytest.mark.parametrize(
    "changed",
    [
        lan.recipe("smoke", epochs=2, data={"stray": 0.1, "levels": [4], "scenery": "studio"}, fold=3, seed=5),
        pcda.recipe("smoke", method="plain", seed=5),
        pcda.recipe("smoke", landmark_weights="", seed=5),
    ],
    ids=["data", "another method", "nothing"],
)
def test_the_command_of_a_run_gives_its_recipe_again(changed: Recipe) -> None:
    words = iter(shlex.split(experiments.command(changed)))
    fields = dict(cli._field(next(words)) for word in words if word == "--set")
    assert experiments.paper(changed.paper).recipe("smoke", seed=5, **fields) == changed


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
    off = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "contrast": 0, "erase": 0}
    assert augment(x, small(**off)) is x
    mirrored = augment(x, small(**(off | {"flip": True})))
    turned = [bool(torch.allclose(a, b.flip(2), atol=1e-4)) for a, b in zip(mirrored, x, strict=True)]
    same = [bool(torch.allclose(a, b, atol=1e-4)) for a, b in zip(mirrored, x, strict=True)]
    assert 16 < sum(turned) < 48 and sum(turned) + sum(same) == 64
    holes = (erase(x, 1.0) != x).any(1).flatten(1).float().mean(1)
    assert holes.mean() > 0 and holes.max() <= 0.25 and torch.equal(erase(x, 0.0), x)
    brighter = augment(x, small(**(off | {"contrast": 0.3})))
    assert brighter.std((1, 2, 3)).div(x.std((1, 2, 3))).log().abs().max() < 0.31
    assert augment(x, small()).shape == x.shape and augment(x, small()).isfinite().all()


def test_votes_as_targets(tmp_path: Path) -> None:
    table = manifest()
    rng = np.random.default_rng(3)
    table[[f"votes_{name}" for name in CLASSES]] = rng.integers(1, 5, (len(table), 3))
    data = open_prepared(write_prepared(tmp_path / "voted", table))
    votes = data.votes()
    row = table.iloc[7][[f"votes_{name}" for name in CLASSES]].to_numpy(float)
    assert votes.shape == (len(table), 3) and votes[7] == pytest.approx(row / row.sum())
    batches = train.Batches(data, np.arange(5, 20), 16, 8, "cpu", targets="votes")
    first = next(iter(batches))
    assert torch.equal(first["targets"], torch.from_numpy(votes[5:13])) and "labels" in first
    assert "targets" not in next(iter(train.Batches(data, np.arange(5), 16, 8, "cpu")))
    fewer, gone = data.leaving_out("surprise"), (table["expression"] == "surprise").to_numpy()
    assert (fewer.labels() == np.where(gone, -1, data.labels())).all() and fewer.classes == CLASSES[:2]
    assert (fewer.votes()[gone] == 0).all()
    assert np.allclose(fewer.votes()[~gone], votes[~gone, :2] / votes[~gone, :2].sum(1, keepdims=True))


def test_votes_that_are_not_there(tmp_path: Path) -> None:
    table = manifest()
    data = open_prepared(write_prepared(tmp_path / "unvoted", table))
    with pytest.raises(DataError, match="no column votes_neutral, votes_happiness"):
        data.votes()
    table[[f"votes_{name}" for name in CLASSES]] = 0
    data = open_prepared(write_prepared(tmp_path / "nobody", table))
    with pytest.raises(DataError, match="no vote for any class"):
        data.votes()


def test_mirror_images_give_the_same_prediction(tmp_path: Path) -> None:
    data = open_prepared(write_prepared(tmp_path / "mirrored"))
    torch.manual_seed(0)
    network = lan.model(lan.recipe(width=8), 3)
    batches = train.Batches(data, np.arange(8), 16, 4, "cpu")
    mirrored = train.Batches(data, np.arange(8), 16, 4, "cpu")
    mirrored.data = Prepared(data.path, np.ascontiguousarray(data.images[:, :, ::-1]), data.manifest, data.card)
    one, other = (train.predict(network, b, mirror=True) for b in (batches, mirrored))
    assert one == pytest.approx(other, abs=1e-5)
    alone = [train.predict(network, b) for b in (batches, mirrored)]
    assert one == pytest.approx(np.mean(alone, axis=0), abs=1e-5) and abs(alone[0] - alone[1]).max() > 1e-4
