"""Runs across data sets: a first stage elsewhere, a share of the labels, a test on another set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, manifest, write_prepared

from fercore.data import catalogue, parts, protocols
from fercore.errors import ParameterError
from fercore.papers import arcface, baselines, lan
from fercore.training import experiments, shown, train

SMALL = {"image_size": 16, "width": 8, "batch_size": 16, "epochs": 1, "backbone_epochs": 2, "method": "resnet18"}
ORDERS = {"kdef-twin": CLASSES, "rafdb-twin": CLASSES, "sfew-twin": CLASSES[::-1], "affectnet-twin": ("fear", "anger")}
"""Small data sets under known names, and their classes in order."""


@pytest.fixture(autouse=True)
def small_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "records"))
    for number, (name, classes) in enumerate(ORDERS.items()):

        def make(target: Path, preset: str, name: str = name, classes: Any = classes, people: int = number) -> None:
            table = manifest(12 + 2 * people, 2, classes)
            fold = table["subject"].str[1:].astype(int) % 4
            table["split"] = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
            write_prepared(target, table, name=name, classes=classes)

        monkeypatch.setitem(catalogue.DATASETS, name, catalogue.Entry(name, False, lambda _, n=name: n, make))


def run(dataset: str = "kdef-twin", **changes: Any) -> Any:
    return experiments.run(lan.recipe("smoke", dataset, **(SMALL | changes)))


def test_the_first_stage_may_see_another_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fit(recipe: Any, network: Any, criterion: Any, data: Any, *rest: Any, **options: Any) -> Any:
        seen.append((data.name, recipe.epochs))
        return train.fit(recipe, network, criterion, data, *rest, **options)

    monkeypatch.setattr(experiments, "fit", fit)
    record = run(pretraining="rafdb-twin")
    assert seen == [("rafdb-twin", 2), ("kdef-twin", 1)]
    assert set(record.further) == {"rafdb-twin"} and record.data.name == "kdef-twin"
    assert {stage: len(rows) for stage, rows in record.history.items()} == {"backbone": 2, "method": 1}
    assert record.key != run().key, "another first stage, another run"


def test_a_shared_first_stage_is_trained_once() -> None:
    one, two = (run(pretraining="rafdb-twin", share=share) for share in (0.5, 1.0))
    assert one.history["backbone"] == two.history["backbone"], "to the seconds: it is the same one"
    assert one.weights["backbone"] == two.weights["backbone"]


@pytest.mark.parametrize(
    ("elsewhere", "taken"), [("rafdb-twin", True), ("sfew-twin", False), ("affectnet-twin", False)]
)
def test_a_classifier_is_taken_over_for_the_same_classes_only(elsewhere: str, taken: bool) -> None:
    recipe = lan.recipe("smoke", "kdef-twin", **SMALL, pretraining=elsewhere)
    data, other = catalogue.prepare("kdef-twin"), catalogue.prepare(elsewhere)
    torch.manual_seed(0)
    start, network = lan.model(recipe, len(other.classes)), lan.model(recipe, len(data.classes))
    before = network.classifier.weight.clone()
    experiments._start_from(network, start, classifier=other.classes == data.classes)
    assert torch.equal(network.backbone.conv1.weight, start.backbone.conv1.weight)
    assert torch.equal(network.classifier.weight, start.classifier.weight if taken else before)


def test_a_share_is_of_what_is_trained_and_validated_on_not_of_the_test() -> None:
    data = catalogue.prepare("kdef-twin")
    whole, half = (parts.parts_of(lan.recipe("smoke", **SMALL, share=share), data) for share in (1.0, 0.5))
    assert {name: len(rows) for name, rows in half.items()} == {
        "train": round(len(whole["train"]) / 2),
        "validation": round(len(whole["validation"]) / 2),
        "test": len(whole["test"]),
    }
    assert all(set(half[name]) <= set(whole[name]) for name in whole)
    other = parts.parts_of(lan.recipe("smoke", **SMALL, share=0.5, seed=1), data)
    assert set(other["train"]) != set(half["train"]) and np.array_equal(other["test"], half["test"])
    least = parts.parts_of(lan.recipe("smoke", **SMALL, share=0.001), data)
    assert len(least["train"]) == len(least["validation"]) == 2


def test_a_test_on_another_set_counts_classes_by_name() -> None:
    record = run(also_on="sfew-twin", epochs=3)
    numbers = record.metrics["on_sfew-twin"]
    other = catalogue.prepare("sfew-twin")
    rows = protocols.split(other.manifest, "official")["test"]
    recipe = lan.LANRecipe.model_validate(record.recipe)
    network = lan.model(recipe, len(CLASSES))
    train.load_weights(network, record.folder / "model.safetensors")
    answers = train.predict(network, train.Batches(other, rows, 16, 256, "cpu"))
    names = np.array(CLASSES)[answers.argmax(1)]
    right = (names == other.manifest["expression"].to_numpy()[rows]).mean()
    assert numbers["images"] == len(rows) and numbers["accuracy"] == pytest.approx(right)
    assert set(numbers["recall"]) == set(CLASSES)
    matrix = record.arrays()["confusion_on_sfew-twin"]
    assert np.trace(matrix) == round(right * len(rows)) and matrix.sum() == len(rows)


def test_maps_are_kept_of_rendered_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = run(method="lan", cluster_sample=16).arrays()
    tested = parts.parts_of(lan.recipe("smoke", **SMALL), catalogue.prepare("kdef-twin"))["test"]
    assert np.array_equal(arrays["map_rows"], tested[: shown.SHOWN])
    assert arrays["map_cam"].shape == arrays["map_attention"].shape == (len(tested), 2, 2)
    entry = catalogue.DATASETS["kdef-twin"]
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", entry._replace(real=True))
    assert not [name for name in run(seed=1).arrays() if name.startswith("map_")]


def test_pans_are_subsets_where_cameras_stood() -> None:
    class Fixed:
        manifest = manifest(4, 30)

    rows = np.arange(len(Fixed.manifest))
    Fixed.manifest["pan"] = np.resize([-90.0, 0.0, 90.0], len(rows))
    assert list(parts.subsets(Fixed, rows)) == ["test", "pan_-90", "pan_+0", "pan_+90"]
    Fixed.manifest["pan"] = np.linspace(-40, 40, len(rows))
    assert list(parts.subsets(Fixed, rows)) == ["test"]


def test_a_baseline_is_trained_like_a_paper() -> None:
    recipe = baselines.recipe("smoke", "kdef-twin", **SMALL)
    record = experiments.run(recipe)
    assert record.name.startswith("baselines-resnet18-kdef-twin-smoke") and "baselines" in experiments.papers()
    assert record.weights["backbone"] == run().weights["backbone"], "LAN's baseline has the same first stage"
    assert record.metrics["test"] == run().metrics["test"]


def test_sets_without_a_class_in_common_are_refused() -> None:
    with pytest.raises(ParameterError, match="affectnet-twin shares no class with kdef-twin"):
        run(also_on="affectnet-twin")


def test_names_of_other_sets_are_checked_before_anything_runs() -> None:
    for field in ("pretraining", "also_on"):
        with pytest.raises(ParameterError, match=r"'rafdb-twn'.*did you mean 'rafdb-twin'"):
            lan.recipe("smoke", "kdef-twin", **{field: "rafdb-twn"})


# --- first weights -----------------------------------------------------------------------------------------


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small set of people under the name of the identity twin; its runs are as small as the others here."""

    def make(target: Path, preset: str, **_: Any) -> None:
        table = manifest(10, 4)
        table["split"] = np.where(table["subject"].str[1:].astype(int) >= 8, "test", "train")
        table["yaw"] = np.where(table.index % 2, 10.0, -10.0)
        write_prepared(target, table, name="identity-twin")

    entry = catalogue.Entry("Faces", False, lambda preset, **_: preset, make)
    monkeypatch.setitem(catalogue.DATASETS, "identity-twin", entry)


def first_weights(record: Any, stage: str = "backbone") -> str:
    return record.weights[stage].hash


def test_a_network_that_tells_people_apart_is_tested_on_strangers(faces: None) -> None:
    record = experiments.run(arcface.recipe("smoke", width=8, image_size=16, epochs=2))
    numbers, arrays = record.metrics["test"], record.arrays()
    assert len(record.classes) == 8 and numbers["people"] == 2 and numbers["images"] == 24
    assert numbers["accuracy"] == pytest.approx(arrays["right"].mean())
    assert numbers["accuracy_low"] <= numbers["accuracy"] <= numbers["accuracy_high"]
    assert arrays["yaw"].max() <= 20 and (arrays["yaw"] == 20).any(), "-10 and 10 degrees are 20 apart"
    assert len(arrays["similarity"]) == numbers["pairs"] and (record.folder / "model.safetensors").exists()


def test_runs_start_from_people_and_share_that_training(faces: None) -> None:
    plain, started = run(), run(start="identity")
    again = run(start="identity", method="lan", cluster_sample=16)
    assert first_weights(plain) != first_weights(started) == first_weights(again)
    assert plain.key != started.key
    own = train.load_file(next(started.folder.parent.glob("arcface-*/model.safetensors")))
    recipe = lan.recipe("smoke", "kdef-twin", **SMALL, start="identity")
    network = lan.model(experiments.paper("lan").backbone_stage(recipe), len(CLASSES))
    experiments._take_starts(network, experiments.starts_of(recipe, started.folder.parent))
    assert torch.equal(network.backbone.conv1.weight, own["backbone.conv1.weight"])
    assert len(list(started.folder.parent.glob("arcface-*"))) == 1


def test_a_file_of_weights_is_taken_by_its_content(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pth", "b.pth")]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        torch.save({"state_dict": lan.trunk(lan.recipe("smoke", **SMALL)).state_dict()}, file)
    one, two = (run(start=str(file)) for file in files)
    assert first_weights(one) != first_weights(two) and one.key != two.key
    torch.save(torch.load(files[1]), files[0])
    assert first_weights(run(start=str(files[0]))) == first_weights(two), "another content, another run"
    alone = run(start=str(files[0]), backbone_epochs=0)
    assert first_weights(alone, "method") != first_weights(run(backbone_epochs=0), "method")


def test_a_start_that_is_no_file_is_named() -> None:
    with pytest.raises(ParameterError, match="parameter 'start' = 'identiy' is no file of weights"):
        run(start="identiy")
