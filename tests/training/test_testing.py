"""What a record holds of a run: every head, what was logged, the criterion's own weights, a paper's own splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import tiny_paper
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import CLASSES

from fercore import evaluate
from fercore.data import catalogue, protocols
from fercore.data.labels import of_classes
from fercore.data.prepared import open_prepared
from fercore.errors import ParameterError
from fercore.papers.baselines import CrossEntropy
from fercore.records import Record
from fercore.training import experiments, testing
from fercore.training.batches import predict, to_predict

POSES = ("-45°", "0°", "+45°")


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The small paper is there; called with other definitions, it has those."""
    register = partial(tiny_paper.register, tmp_path, monkeypatch)
    register()
    return register


def run(**changes: Any) -> Record:
    return experiments.run(tiny_paper.recipe(**changes))


# --- heads ------------------------------------------------------------------------------------------------


def test_a_further_head_is_trained_tested_and_recorded_like_the_expression(use: Callable[..., None]) -> None:
    record = run(epochs=5)
    numbers, arrays = record.metrics["test"], record.arrays()
    assert record.heads == {"pose": list(POSES)} and record.classes == list(CLASSES)
    data = catalogue.prepare("kdef-twin")
    rows = protocols.split(data.manifest, "official")["test"]
    pose = np.sign(data.manifest["yaw"].to_numpy()[rows]).astype(int) + 1
    assert arrays["pose_labels"].tolist() == pose.tolist() and arrays["labels"].tolist() == data.labels()[rows].tolist()
    for prefix, classes in (("", CLASSES), ("pose_", POSES)):
        labels, shares = arrays[f"{prefix}labels"], arrays[f"{prefix}probabilities"]
        assert shares.shape == (len(rows), 3) and shares.dtype == np.float16
        assert shares.sum(1) == pytest.approx(1, abs=2e-3)
        answers = shares.argmax(1)
        assert numbers[f"{prefix}accuracy"] == (answers == labels).mean() > 0.6, "chance is a third"
        expected = evaluate.summary(labels, answers, classes)
        expected["calibration_error"] = evaluate.calibration_error(labels, shares)
        assert {name: numbers[f"{prefix}{name}"] for name in expected} == expected
        matrix = arrays[f"confusion_{prefix}test"]
        assert matrix.sum() == len(rows) and np.trace(matrix) == (answers == labels).sum()
    assert set(numbers["pose_recall"]) == set(POSES)


def test_heads_are_told_apart_in_every_subset(use: Callable[..., None]) -> None:
    """Images whose pose nobody knows count for the expression alone."""

    def truth(recipe: Any, data: Any) -> dict[str, Any]:
        pose = tiny_paper.truth(recipe, data)["pose"]
        labels = np.where(np.arange(len(data)) % 4, pose.values, -1)
        return {"pose": of_classes(labels, pose.classes, pose.opposite)}

    class Loss(tiny_paper.Loss):
        def forward(self, output: Any, batch: Any) -> Any:
            known = batch["pose"] >= 0
            shown = tiny_paper.Output(output.logits, output.pose_logits[known])
            terms, logged = super().forward(shown, batch | {"pose": batch["pose"][known]})
            return terms, logged

    use(truth=truth, criterion=lambda recipe, network: Loss())
    numbers, arrays = (record := run()).metrics["test"], record.arrays()
    known = arrays["pose_labels"] >= 0
    assert (
        numbers["images"] == len(known) > numbers["pose_images"] == known.sum() == arrays["confusion_pose_test"].sum()
    )
    right = arrays["pose_probabilities"].argmax(1) == arrays["pose_labels"]
    assert numbers["pose_accuracy"] == right[known].mean()


def test_every_number_of_a_subset_is_of_its_images(use: Callable[..., None], tmp_path: Path) -> None:
    recipe = tiny_paper.recipe()
    table = tiny_paper.turned().assign(pose_over_30=lambda t: t["yaw"].abs() > 30, pan=lambda t: t["yaw"])
    data = open_prepared(tiny_paper.write_turned(tmp_path / "marked", table))
    torch.manual_seed(0)
    network, truth = tiny_paper.model(recipe, 3), tiny_paper.truth(recipe, data)
    rows = np.arange(60)
    metrics, arrays = testing.test(recipe, network, data, rows, to_predict(recipe, data, rows, "cpu", truth))
    assert set(metrics) == {"test", "pose_over_30", "pan_-45", "pan_+0", "pan_+45"}
    yaw = table["yaw"].to_numpy()[rows]
    for name, chosen in (("pose_over_30", np.abs(yaw) > 30), ("pan_+45", yaw == 45)):
        assert np.array_equal(arrays[f"in_{name}"], chosen) and metrics[name]["images"] == chosen.sum()
        for prefix in ("", "pose_"):
            right = arrays[f"{prefix}probabilities"].argmax(1) == arrays[f"{prefix}labels"]
            assert metrics[name][f"{prefix}accuracy"] == right[chosen].mean()
    assert arrays["subjects"].tolist() == table["subject"].tolist()[:60]
    assert arrays["samples"].tolist() == table["sample"].tolist()[:60]


def test_mirrored_answers_are_what_is_recorded(use: Callable[..., None]) -> None:
    plain, mirrored = run(), run(mirror=True)
    data = catalogue.prepare("kdef-twin")
    rows = protocols.split(data.manifest, "official")["test"]
    network = tiny_paper.model(tiny_paper.recipe(), 3)
    network.load_state_dict(load_file(mirrored.folder / "model.safetensors"))
    recipe = tiny_paper.recipe(mirror=True)
    batches = to_predict(recipe, data, rows, "cpu", tiny_paper.truth(recipe, data))
    found = mirrored.arrays()["pose_probabilities"]
    assert found == pytest.approx(predict(network, batches, True)["pose"], abs=1e-3)
    assert plain.weights["final"] == mirrored.weights["final"], "the same network"
    assert abs(found - plain.arrays()["pose_probabilities"]).max() > 5e-3, "read from two sides"


# --- what it was made of ----------------------------------------------------------------------------------


def test_a_record_says_what_its_data_were_made_of_and_whether_they_are_real(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, data = run(epochs=1), catalogue.prepare("kdef-twin")
    assert record.data.made == data.card["made"] == {"seed": 0} and not record.data.real
    assert (record.data.title, record.data.name, record.data.hash) == (data.card["title"], "kdef-twin", data.hash)
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", catalogue.entry("kdef-twin")._replace(real=True))
    assert run(epochs=1, seed=1).data.real


def test_a_record_says_what_it_took(use: Callable[..., None]) -> None:
    record = run(epochs=1)
    used = psutil.Process().memory_info().rss
    assert used / 2 < record.peak_memory < 100 * used, "bytes, whichever system counts in others"
    assert record.started.endswith("+00:00"), "the same clock everywhere"
    assert {"python", "torch", "fercore"} <= record.versions.keys()


# --- the criterion ----------------------------------------------------------------------------------------


def test_what_a_criterion_logs_and_learns_is_kept(use: Callable[..., None]) -> None:
    record = run(epochs=3)
    history = record.history["method"]
    logged = [row["pose_weight"] for row in history]
    assert len({0.5, *logged}) == 4, "it moves within each epoch"
    for row in history:
        assert row["train_loss"] == pytest.approx(row["train_cross_entropy"] + row["train_pose"], rel=1e-5)
    kept = load_file(record.folder / "criterion.safetensors")
    assert set(kept) == {"logit"} and kept["logit"] != 0
    assert kept["logit"].sigmoid().item() == pytest.approx(logged[-1], abs=0.05), "near the last epoch's mean"
    for name in ("model", "criterion"):
        with safe_open(record.folder / f"{name}.safetensors", framework="pt") as file:
            assert file.metadata() == {"classes": ",".join(CLASSES)}


def test_a_criterion_without_a_state_leaves_no_file(use: Callable[..., None]) -> None:
    use(criterion=lambda recipe, network: CrossEntropy())
    assert sorted(path.name for path in run().folder.iterdir()) == ["arrays.npz", "model.safetensors", "record.json"]


# --- what a paper brings along ----------------------------------------------------------------------------


def by_halves(manifest: pd.DataFrame, fold: int) -> protocols.Split:
    """Even rows train, the others are tested on, a few of each validate."""
    rows = np.arange(len(manifest))
    parts = {"train": rows[::2], "validation": rows[10:20], "test": rows[1::2]}
    return {name: np.setdiff1d(own, rows[10:20]) if name != "validation" else own for name, own in parts.items()}


def test_a_paper_brings_its_own_protocols(use: Callable[..., None]) -> None:
    use(PROTOCOLS={"halves": by_halves})
    record = run(protocol="halves")
    table = tiny_paper.turned()
    expected = by_halves(table, 0)
    assert record.data.images == {name: len(rows) for name, rows in expected.items()}
    assert record.arrays()["samples"].tolist() == table["sample"][expected["test"]].tolist()
    use()
    with pytest.raises(ParameterError, match=r"no protocol 'halves'.*official"):
        run(protocol="halves", seed=1)


def test_a_paper_may_test_and_judge_by_itself(use: Callable[..., None]) -> None:
    asked: list[Any] = []

    def test(recipe: Any, network: Any, data: Any, rows: np.ndarray, batches: Any) -> Any:
        asked.extend((rows, batches.rows, [batch["pose"].tolist() for batch in batches]))
        return {"test": {"accuracy": 0.25, "images": len(rows)}}, {"own": rows}

    use(test=test, judge=tiny_paper.scores(0.3, 0.1))
    record = run()
    tested = protocols.split(catalogue.prepare("kdef-twin").manifest, "official")["test"]
    assert record.metrics == {"test": {"accuracy": 0.25, "images": len(tested)}}
    assert record.arrays()["own"].tolist() == asked[0].tolist() == asked[1].tolist() == tested.tolist()
    assert [row["validation_accuracy"] for row in record.history["method"]] == [0.3, 0.1]


def test_a_paper_orders_its_epochs_with_its_data_at_hand(use: Callable[..., None]) -> None:
    asked: list[Any] = []

    def order(recipe: Any, data: Any, rows: np.ndarray, epoch: int) -> np.ndarray:
        asked.append((recipe.method, data.name, rows.tolist(), epoch))
        return rows

    use(order=order)
    run()
    trained = protocols.split(catalogue.prepare("kdef-twin").manifest, "official")["train"].tolist()
    assert asked == [("tiny", "kdef-twin", trained, 0), ("tiny", "kdef-twin", trained, 1)]


def test_a_view_of_the_data_is_what_is_trained_and_tested_on(use: Callable[..., None]) -> None:
    use(view=lambda data: replace(data, card=data.card | {"classes": CLASSES[::-1]}))
    record = run(leave_out="neutral")
    assert record.classes == ["surprise", "happiness"], "what a recipe leaves out is left out of the view"
    assert set(record.arrays()["labels"]) == {0, 1}


def test_maps_and_features_are_kept_where_a_paper_has_them(use: Callable[..., None]) -> None:
    def features(network: Any, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 3))

    use(features=features, maps=lambda network, images: {"grey": images.mean(1)})
    arrays = run().arrays()
    assert arrays["map_grey"].shape == (27, 16, 16) and arrays["features"].shape == (27, testing.COMPONENTS)
    use(features=lambda network, images: 100 * images.mean((1, 3))[:, :5])
    few = run(seed=2, epochs=1).arrays()
    assert few["features_share"].sum() == pytest.approx(1, abs=1e-5) and few["features"].astype(float).std() > 1
    use(features=features, maps=lambda network, images: {"grey": images.mean(1)})
    assert np.abs(arrays["map_grey"].astype(float).mean((1, 2))).max() > 0.1
    seen = run(standardise=True).arrays()["map_grey"].astype(float)
    assert np.abs(seen.mean((1, 2))).max() < 0.01, "maps are of what the network sees"
    use()
    assert not [name for name in run(seed=1).arrays() if name.startswith(("map", "features"))]


def test_maps_are_of_the_first_test_images(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    use(maps=lambda network, images: {"grey": images.mean(1)})
    monkeypatch.setattr(testing, "SHOWN", 5)
    arrays = run().arrays()
    tested = protocols.split(catalogue.prepare("kdef-twin").manifest, "official")["test"]
    assert arrays["map_rows"].tolist() == tested[:5].tolist() and len(arrays["map_grey"]) == 5


def test_nobody_is_named_where_nobody_knows_who_is_shown(use: Callable[..., None], tmp_path: Path) -> None:
    recipe, table = tiny_paper.recipe(), tiny_paper.turned()
    half = table["subject"].where(table.index % 2 == 0, "")
    for k, (who, named) in enumerate(((table["subject"], True), ("", False), ("F01", False), (half, False))):
        data = open_prepared(tiny_paper.write_turned(tmp_path / str(k), table.assign(subject=who)))
        batches = to_predict(recipe, data, np.arange(30), "cpu", tiny_paper.truth(recipe, data))
        arrays = testing.test(recipe, tiny_paper.model(recipe, 3), data, np.arange(30), batches)[1]
        assert ("subjects" in arrays) == named


def test_another_set_is_answered_as_the_recipe_predicts(use: Callable[..., None]) -> None:
    """From both sides, and standardised."""
    module, other = tiny_paper.paper(), catalogue.prepare("rafdb-twin")
    torch.manual_seed(3)
    reader = tiny_paper.model(tiny_paper.recipe(), 3)
    reader.pose.weight.data *= 30  # no answer is a near thing
    rows = protocols.split(other.manifest, "official")["test"]

    class Sideways(torch.nn.Module):
        """Answers by the columns, which a mirror exchanges."""

        def __init__(self) -> None:
            super().__init__()
            self.reader = reader

        def forward(self, images: torch.Tensor) -> tiny_paper.Output:
            return tiny_paper.Output(self.reader(images).pose_logits, self.reader(images).pose_logits)

    network = Sideways()
    found = []
    for changes in ({}, {"mirror": True}, {"standardise": True}):
        recipe = tiny_paper.recipe(also_on="rafdb-twin", **changes)
        numbers, matrix = testing.test_elsewhere(recipe, module, network, other, other)
        answers = predict(network, to_predict(recipe, other, rows, "cpu"), recipe.mirror)["expression"].argmax(1)
        assert numbers["accuracy"] == (answers == other.labels()[rows]).mean()
        assert np.array_equal(matrix, evaluate.confusion(other.labels()[rows], answers, CLASSES))
        found.append(answers.tolist())
    assert found[0] != found[1] and found[0] != found[2], "they do not answer alike"


def test_a_record_of_another_test_part_asks_the_other_set_s_own_protocol(use: Callable[..., None]) -> None:
    record = run(also_on="rafdb-twin")
    other = catalogue.prepare("rafdb-twin")
    rows = protocols.split(other.manifest, "official")["test"]
    assert record.metrics["on_rafdb-twin"]["images"] == len(rows) == record.arrays()["confusion_on_rafdb-twin"].sum()
    (note,) = record.further.values()
    assert (note.name, note.images, note.hash) == ("rafdb-twin", {"all": len(other)}, other.hash) and not note.real
    assert record.data.hash == catalogue.prepare("kdef-twin").hash
