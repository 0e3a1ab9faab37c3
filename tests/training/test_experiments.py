"""Runs across data sets: a first stage elsewhere, a share of the labels, a test on another set."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, manifest, write_prepared

from fercore import cli, papers, records
from fercore.backbones import weights
from fercore.data import catalogue, parts, protocols
from fercore.errors import ParameterError
from fercore.papers import arcface, baselines, lan, pcda
from fercore.recipe import Recipe
from fercore.training import experiments, loop, testing
from fercore.training.batches import Batches, predict

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
        return loop.fit(recipe, network, criterion, data, *rest, **options)

    monkeypatch.setattr(experiments, "fit", fit)
    record = run(pretraining="rafdb-twin")
    assert seen == [("rafdb-twin", 2), ("kdef-twin", 1)]
    assert set(record.further) == {"rafdb-twin"} and record.data.name == "kdef-twin"
    assert record.stages["backbone"]["test"]["images"] > 0, "the stage was tested, too"
    assert {stage: len(rows) for stage, rows in record.history.items()} == {"backbone": 2, "method": 1}
    assert record.key != run().key, "another first stage, another run"


def test_a_shared_first_stage_is_trained_once() -> None:
    one, two = (run(pretraining="rafdb-twin", share=share) for share in (0.5, 1.0))
    assert one.history["backbone"] == two.history["backbone"], "to the seconds: it is the same one"
    assert one.weights["backbone"] == two.weights["backbone"]


@pytest.mark.parametrize(
    ("elsewhere", "taken"), [("rafdb-twin", True), ("sfew-twin", False), ("affectnet-twin", False)]
)
def test_a_classifier_is_taken_over_for_the_same_classes_only(
    elsewhere: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []

    def fit(recipe: Any, network: Any, *rest: Any, **options: Any) -> Any:
        begun.append({name: value.clone() for name, value in network.state_dict().items()})
        return loop.fit(recipe, network, *rest, **options)

    monkeypatch.setattr(experiments, "fit", fit)
    record = run(pretraining=elsewhere, backbone_epochs=1)
    (stage,) = (record.folder.parent / experiments.STAGES).glob("*/model.safetensors")
    before, own = begun[-1], weights.read(stage)
    assert torch.equal(before["backbone.conv1.weight"], own["backbone.conv1.weight"])
    assert torch.equal(before["classifier.weight"], own["classifier.weight"]) is taken


def test_a_test_on_another_set_counts_classes_by_name() -> None:
    record = run(also_on="sfew-twin", epochs=3)
    numbers = record.metrics["on_sfew-twin"]
    other = catalogue.prepare("sfew-twin")
    rows = protocols.split(other.manifest, "official")["test"]
    recipe = lan.LANRecipe.model_validate(record.recipe)
    network = lan.model(recipe, len(CLASSES))
    loop.load_weights(network, record.folder / "model.safetensors")
    answers = predict(network, Batches(other, rows, 16, 256, "cpu"))["expression"]
    names = np.array(CLASSES)[answers.argmax(1)]
    right = (names == other.manifest["expression"].to_numpy()[rows]).mean()
    assert numbers["images"] == len(rows) and numbers["accuracy"] == pytest.approx(right)
    assert set(numbers["recall"]) == set(CLASSES)
    matrix = record.arrays()["confusion_on_sfew-twin"]
    assert np.trace(matrix) == round(right * len(rows)) and matrix.sum() == len(rows)


def test_maps_are_kept_of_rendered_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = run(method="lan", cluster_sample=16).arrays()
    tested = parts.parts_of(lan.recipe("smoke", **SMALL), catalogue.prepare("kdef-twin"))["test"]
    assert np.array_equal(arrays["map_rows"], tested[: testing.SHOWN])
    assert arrays["map_cam"].shape == arrays["map_attention"].shape == (len(tested), 2, 2)
    entry = catalogue.DATASETS["kdef-twin"]
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", entry._replace(real=True))
    assert not [name for name in run(seed=1).arrays() if name.startswith("map_")]


def test_a_baseline_is_trained_like_a_paper() -> None:
    recipe = baselines.recipe("smoke", "kdef-twin", **SMALL)
    record = experiments.run(recipe)
    assert record.name.startswith("baselines-resnet18-kdef-twin-smoke") and "baselines" in papers.names()
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
    assert arrays["yaw"].max() <= 20 and (arrays["yaw"] == 20).any(), "-10 and 10 degrees are 20 apart"
    assert len(arrays["similarity"]) == numbers["pairs"] and (record.folder / "model.safetensors").exists()


def test_runs_start_from_people_and_share_that_training(faces: None) -> None:
    plain, started = run(), run(start="identity")
    again = run(start="identity", method="lan", cluster_sample=16)
    assert first_weights(plain) != first_weights(started) == first_weights(again)
    assert plain.key != started.key
    (file,) = started.folder.parent.glob("arcface-*/model.safetensors")
    recipe = lan.recipe("smoke", "kdef-twin", **SMALL, start="identity")
    torch.manual_seed(recipe.seed)
    network = lan.model(recipe, len(CLASSES))
    weights.load(network.backbone, file)
    assert experiments._weights_note(network).hash == first_weights(started), "its trunk, as it is: no other colours"


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
    with pytest.raises(ParameterError, match="lan is to start from 'identiy', which is no file of weights"):
        run(start="identiy")


@pytest.mark.parametrize("changed", ["name", "preset"])
def test_a_data_set_keeps_its_name(changed: str) -> None:
    with pytest.raises(ParameterError, match=f"'{changed}' of kdef-twin can't be changed"):
        experiments.run(lan.recipe("smoke", data={changed: "quick"}))


# --- the command -------------------------------------------------------------------------------------------


COMMANDS: dict[str, Recipe] = {
    "data": lan.recipe("smoke", epochs=2, data={"stray": 0.1, "levels": [4], "scenery": "studio"}, fold=3, seed=5),
    "another method": pcda.recipe("smoke", method="plain", seed=5),
    "nothing": pcda.recipe("smoke", landmark_weights="", seed=5),
    "a start": lan.recipe("paper", "rafdb", seed=5, start="weights/ours.pth"),
    "pre-training": arcface.recipe("smoke", margin=0.1, seed=5),
    "a file name with a space": lan.recipe("paper", "rafdb", seed=5, start="my weights.pth"),
    "our own setting": lan.recipe("paper", "ferplus", setting="ours", seed=5),
    "a first stage beside a start": pcda.recipe("quick", "ferplus", start="identity", backbone_epochs=24, seed=5),
    "as long a first stage beside a start": lan.recipe("smoke", start="identity", backbone_epochs=1, epochs=2, seed=5),
    "no first stage": lan.recipe("quick", "ferplus", backbone_epochs=0, seed=5),
    "landmarks that nobody looks at": pcda.recipe("smoke", method="plain", landmark_weights="landmarks", seed=5),
    "a small number": lan.recipe("smoke", data={"stray": 1e-05}, learning_rate=1e-05, seed=5),
    "a file that looks like a number": lan.recipe("smoke", start="1e5", seed=5),
    "a file that looks like nothing": lan.recipe("smoke", start="~", seed=5),
}


def said_by(command: str) -> Recipe:
    """The recipe that ``fercore train`` makes of a command."""
    words = shlex.split(command)
    pairs = list(pairwise(words))
    given, fields = dict(pairs), dict(cli._field(word) for before, word in pairs if before == "--set")
    recipe = papers.module(words[2]).recipe
    return recipe(given["--preset"], given["--dataset"], seed=int(given["--seed"]), **fields)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_of_a_run_gives_its_recipe_again(name: str) -> None:
    assert said_by(experiments.command(COMMANDS[name])) == COMMANDS[name]


@pytest.mark.parametrize("record", records.find(), ids=lambda record: record.name)
def test_the_command_of_a_committed_record_gives_its_recipe_again(record: records.Record) -> None:
    assert said_by(record.command) == experiments.recipe_of(record)
