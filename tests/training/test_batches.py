"""Batches: what is known of each image comes with it, and what has a side follows its mirror image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_paper
import torch
from tiny import CLASSES, manifest, write_prepared
from tiny_paper import ANGLES, OFF, small
from torch import Tensor, nn

from fercore.data.augment import MIRRORED, normalise
from fercore.data.labels import Truth, of_classes, pose_classes
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import DataError
from fercore.papers import lan
from fercore.training.batches import EXPRESSION, Batches, TrainingSet, accuracy, heads, predict, seed_for, to_predict


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Turned faces with votes."""
    table = tiny_paper.turned()
    table[[f"votes_{name}" for name in CLASSES]] = np.random.default_rng(3).integers(1, 5, (len(table), 3))
    return open_prepared(tiny_paper.write_turned(tmp_path_factory.mktemp("data") / "turned", table))


def test_predictions_come_in_the_order_of_the_rows(data: Prepared) -> None:
    network = lan.model(tiny_paper.small(method="resnet18"), 3)
    rows = np.array([40, 3, 17, 5, 60, 61, 2])
    found = predict(network, Batches(data, rows, 16, 3, "cpu"))[EXPRESSION]
    for row, probabilities in zip(rows, found, strict=True):
        image = normalise(torch.from_numpy(np.array(data.images[[row]])), 16)
        with torch.no_grad():
            expected = network(image).logits.softmax(1)[0]
        assert probabilities == pytest.approx(expected.numpy(), abs=1e-5)


def test_chance_is_the_same_for_all_methods_and_another_in_each_epoch_fold_and_seed() -> None:
    recipe = small()
    seeds = {
        seed_for(recipe, 0), seed_for(recipe, 1), seed_for(recipe.but(seed=1), 0), seed_for(recipe.but(fold=1), 0),
        seed_for(recipe.but(epochs=9), 0),
    }  # fmt: skip
    assert len(seeds) == 5 and seed_for(recipe.but(alpha=0.1, method="resnet18"), 0) in seeds
    assert seed_for(lan.recipe("smoke", seed=3, fold=2, epochs=5), 4) == 416846083


def test_batches_hold_every_row_once_a_pass(data: Prepared) -> None:
    batches = Batches(data, np.arange(5, 38), 24, 16, "cpu")
    assert len(batches) == 3 and [len(batch["rows"]) for batch in batches] == [16, 16, 1]
    assert torch.cat([batch["rows"] for batch in batches]).tolist() == list(range(5, 38))
    for batch in batches:
        assert batch["images"].shape == (len(batch["rows"]), 3, 24, 24)
        assert batch["labels"].tolist() == data.labels()[batch["rows"].numpy()].tolist()
    drawn = list(batches.augmented(batches.parts(batches.rows), tiny_paper.recipe(), 16))
    assert [len(batch["rows"]) for batch in drawn] == [16, 16], "the last batch of one is left out"
    assert drawn[0]["images"].shape[2:] == (16, 16), "another size, where one is asked for"


def test_votes_as_targets(data: Prepared) -> None:
    votes, table = data.votes(), data.manifest
    row = table.iloc[7][[f"votes_{name}" for name in CLASSES]].to_numpy(float)
    assert votes.shape == (len(table), 3) and votes[7] == pytest.approx(row / row.sum())
    batches = Batches(data, np.arange(5, 20), 16, 8, "cpu", targets="votes")
    first = next(iter(batches))
    assert torch.equal(first["targets"], torch.from_numpy(votes[5:13])) and "labels" in first
    assert "targets" not in next(iter(Batches(data, np.arange(5), 16, 8, "cpu")))
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


def test_a_yaw_that_is_not_known_everywhere_is_no_entry(data: Prepared) -> None:
    table = data.manifest.assign(yaw=data.manifest["yaw"].where(data.manifest.index != 3))
    some = Prepared(data.path, data.images, table, data.card)
    known, unknown = (next(iter(Batches(own, np.arange(4), 16, 4, "cpu"))) for own in (data, some))
    assert known["yaw"].tolist() == [-45, 0, 45, -45] and "yaw" not in unknown


# --- mirror images in training ----------------------------------------------------------------------------


def sided(data: Prepared) -> dict[str, Truth]:
    """What has a side: a pose, which the last image has none of, a box, landmarks; and a person, who has no side."""
    pose = pose_classes(data.manifest["yaw"].to_numpy(), ANGLES)
    unknown = np.where(np.arange(len(data)) == len(data) - 1, -1, pose.values)
    left = np.linspace(0, 0.4, len(data), dtype=np.float32)
    box, other = np.stack([left, left + 0.3], 1), np.stack([0.7 - left, 1 - left], 1)
    return {
        "pose": of_classes(unknown, pose.classes, pose.opposite),
        "box": Truth(box, other),
        "points": Truth(np.random.default_rng(1).random((len(data), 68, 2), np.float32)),
        "person": Truth(np.arange(len(data)) // 9),
    }


def test_what_has_a_side_follows_the_images_that_were_mirrored(data: Prepared) -> None:
    truth = sided(data)
    batches = Batches(data, np.arange(len(data)), 16, 32, "cpu", targets="votes", truth=truth)
    parts = batches.parts(np.random.default_rng(0).permutation(len(data)))
    torch.manual_seed(0)
    seen: list[bool] = []
    for plain, found in zip(
        batches.walk(parts, 16), batches.augmented(parts, tiny_paper.recipe(flip=True), 16), strict=True
    ):
        rows, turned = found["rows"].numpy(), []
        for now, before in zip(found["images"], plain["images"], strict=True):
            same, flipped = (torch.allclose(now, image, atol=1e-4) for image in (before, before.flip(2)))
            assert same != flipped, "an image is as it was, or its mirror image"
            turned.append(flipped)
        assert found["mirrored"].tolist() == turned
        seen += turned
        which = np.array(turned)
        assert found["yaw"].numpy() == pytest.approx(np.where(which, -1, 1) * data.manifest["yaw"].to_numpy()[rows])
        pose = truth["pose"].values[rows]
        assert found["pose"].tolist() == np.where(which & (pose >= 0), 2 - pose, pose).tolist()
        box = np.where(which[:, None], truth["box"].mirrored[rows], truth["box"].values[rows])
        assert found["box"].numpy() == pytest.approx(box)
        points = truth["points"].values[rows]
        other = np.stack([1 - points[:, MIRRORED, 0], points[:, MIRRORED, 1]], 2)
        assert found["points"].numpy() == pytest.approx(np.where(which[:, None, None], other, points), abs=1e-5)
        for name in ("labels", "targets", "person"):
            assert torch.equal(found[name], plain[name]), "what has no side stays"
    assert 0.3 < np.mean(seen) < 0.7


@pytest.mark.parametrize("changes", [{}, {"rotation": 20, "shift": 0.1, "zoom": 0.2, "contrast": 0.2, "erase": 0.5}])
def test_without_flips_nothing_is_mirrored(changes: dict[str, Any], data: Prepared) -> None:
    batches = Batches(data, np.arange(len(data)), 16, 64, "cpu", truth=sided(data))
    for batch in batches.augmented(batches.parts(batches.rows), tiny_paper.recipe(**(OFF | changes)), 16):
        assert not batch["mirrored"].any()
        for name in ("yaw", "pose", "box"):
            assert torch.equal(batch[name], batches.truth[name][batch["rows"]])


# --- mirror images in prediction --------------------------------------------------------------------------


class Answer(NamedTuple):
    logits: Tensor
    pose_logits: Tensor


class PoseAlone(NamedTuple):
    pose_logits: Tensor


class Reader(nn.Module):
    """Reads the expression from the brightest third of the rows, the pose from that of the columns."""

    def __init__(self, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, images: Tensor) -> Any:
        rows, columns = (images.mean((1, axis)).unfold(1, 5, 5).mean(2) for axis in (3, 2))
        return PoseAlone(9 * columns) if self.alone else Answer(9 * rows, 9 * columns)


def right(network: nn.Module, batches: Batches, *, mirror: bool) -> dict[str, float]:
    found = predict(network, batches, mirror)
    true = {EXPRESSION: batches.truth["labels"], "pose": batches.truth["pose"]}
    return {name: float((own.argmax(1) == true[name].numpy()).mean()) for name, own in found.items()}


def test_mirrored_answers_are_averaged_with_opposite_classes_exchanged(data: Prepared) -> None:
    every, pose = np.arange(len(data)), pose_classes(data.manifest["yaw"].to_numpy(), ANGLES)
    batches = Batches(data, every, 15, 50, "cpu", truth={"pose": pose})
    plain = right(Reader(), batches, mirror=False)
    assert plain["pose"] == 1 and plain[EXPRESSION] > 0.95
    assert right(Reader(), batches, mirror=True) == plain
    alone, averaged = (predict(Reader(), batches, mirror)["pose"] for mirror in (False, True))
    assert averaged == pytest.approx(alone, abs=1e-4), "this network sees both sides alike"
    without = Batches(data, every, 15, 50, "cpu", truth={"pose": pose._replace(opposite=())})
    assert right(Reader(), without, mirror=True)["pose"] < 0.9, "left and right would cancel out"
    assert right(Reader(), without, mirror=False)["pose"] == 1


def test_mirror_images_give_the_same_prediction(data: Prepared) -> None:
    torch.manual_seed(0)
    network = lan.model(lan.recipe(width=8), 3)
    batches, mirrored = (Batches(data, np.arange(8), 16, 4, "cpu") for _ in range(2))
    mirrored.data = Prepared(data.path, np.ascontiguousarray(data.images[:, :, ::-1]), data.manifest, data.card)
    one, other = (predict(network, b, mirror=True)[EXPRESSION] for b in (batches, mirrored))
    assert one == pytest.approx(other, abs=1e-5)
    alone = [predict(network, b)[EXPRESSION] for b in (batches, mirrored)]
    assert one == pytest.approx(np.mean(alone, axis=0), abs=1e-5) and abs(alone[0] - alone[1]).max() > 1e-4


# --- heads ------------------------------------------------------------------------------------------------


def test_heads_are_the_fields_that_end_in_logits() -> None:
    class Many(NamedTuple):
        features: int
        pose_logits: int
        logits: int
        logits_of: int

    assert heads(Many(1, 2, 3, 4)) == {"pose": 2, EXPRESSION: 3}


def test_the_best_epoch_is_judged_by_the_first_head(data: Prepared) -> None:
    """A network without an expression is judged by the labels of the head that it has."""
    pose = pose_classes(data.manifest["yaw"].to_numpy(), ANGLES)
    for recipe in (tiny_paper.recipe(image_size=15), tiny_paper.recipe(image_size=15, mirror=True)):
        batches = to_predict(recipe, data, np.arange(3, 20), "cpu", {"pose": pose})
        assert accuracy(recipe, Reader(alone=True), batches) == 1
        assert accuracy(recipe, Reader(), batches) > 0.9
    one_sided = to_predict(recipe, data, np.arange(20), "cpu", {"pose": pose._replace(opposite=())})
    plain, mirrored = (accuracy(recipe.but(mirror=on), Reader(alone=True), one_sided) for on in (False, True))
    assert plain == 1 > mirrored, "as the recipe predicts"
    wrong = to_predict(recipe, data, np.arange(3, 20), "cpu", {"pose": pose._replace(values=2 - pose.values)})
    assert accuracy(recipe, Reader(alone=True), wrong) < 0.5 < accuracy(recipe, Reader(), wrong)


# --- the whole training set -------------------------------------------------------------------------------


@pytest.fixture
def training(data: Prepared) -> TrainingSet:
    recipe = tiny_paper.recipe(flip=True, erase=0.5)
    rows = np.arange(10, 60)
    return TrainingSet(recipe, Batches(data, rows, 16, 8, "cpu"), np.random.default_rng(0).permutation(rows))


def test_the_training_set_is_walked_in_whole_batches(training: TrainingSet, data: Prepared) -> None:
    for walk in (training.clean, training.augmented):
        found = list(walk())
        assert [len(batch["rows"]) for batch in found] == [8] * 6 + [2]
        rows = torch.cat([batch["rows"] for batch in found]).numpy()
        assert rows.tolist() == training.order.tolist(), "in the order that it was given"
        assert torch.cat([batch["labels"] for batch in found]).tolist() == data.labels()[rows].tolist()
    images = torch.cat([batch["images"] for batch in training.clean()])
    assert torch.equal(images, normalise(torch.from_numpy(np.array(data.images[training.order])), 16))
    (few,) = training.clean(np.array([12, 50]))
    assert few["rows"].tolist() == [12, 50]


def test_what_training_sees_is_augmented_and_the_same_at_each_call(training: TrainingSet) -> None:
    def images(walk: Callable[[], Any]) -> Tensor:
        return torch.cat([batch["images"] for batch in walk()])

    first = images(training.augmented)
    torch.rand(7)
    assert torch.equal(images(training.augmented), first) and not torch.equal(images(training.clean), first)
    assert any(batch["mirrored"].any() for batch in training.augmented())


@pytest.mark.parametrize(("number", "taken"), [(50, 50), (1000, 50), (10, 10), (12, 10), (1, 1)])
def test_a_sample_is_evenly_taken_and_always_the_same(number: int, taken: int, training: TrainingSet) -> None:
    rows = training.sample(number)
    assert len(rows) == taken <= number and set(rows) <= set(training.batches.rows)
    assert len(set(np.diff(rows))) <= 1 and np.array_equal(rows, training.sample(number))
