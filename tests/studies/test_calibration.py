"""Calibration: targets are published cells, hardness is read back from a twin's parameters, curves from records."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fercore.data import twin_designs
from fercore.data.twin_rows import at_hardness
from fercore.figures import data as figures_data
from fercore.studies import calibration


def test_targets_are_those_that_the_papers_print() -> None:
    table = calibration.targets()
    assert set(table["twin"]) == set(calibration.TARGETS) <= set(twin_designs.DESIGNS)
    assert table.set_index(["twin", "paper"])["accuracy"]["bu3dfe-twin", "PhaNet"] == 80.39
    assert calibration.band("bu3dfe-twin") == (77.76, 80.39)
    assert calibration.band("ferplus-twin") == (83.52 - calibration.AROUND, 83.52 + calibration.AROUND)


@pytest.mark.parametrize("hardness", [0.0, 0.2, 0.5, 1.0, 2.0])
def test_hardness_is_read_back(hardness: float) -> None:
    twin = twin_designs.parameters("kdef-twin", "smoke", **at_hardness(hardness))
    assert calibration.hardness_of(twin.model_dump()) == pytest.approx(hardness, abs=1e-3)
    assert math.isnan(calibration.hardness_of(twin.model_dump() | {"drop": 0.9}))


IMAGES = 1000


def run(dataset: str, hardness: float, accuracy: float, seed: int = 0) -> Any:
    """A run on a twin that has a share of its images right, and keeps what an interval needs."""
    parameters = twin_designs.parameters(dataset, "quick", **at_hardness(hardness)).model_dump(mode="json")
    right = np.arange(IMAGES) < accuracy * IMAGES
    every = dict.fromkeys(["in_test", "in_pan_-45", "in_pan_+0"], np.ones(IMAGES, bool))
    arrays = {
        "labels": np.zeros(IMAGES, int),
        "probabilities": np.eye(2)[1 - right.astype(int)],
        "samples": np.arange(IMAGES).astype(str),
        **every,
    }
    return SimpleNamespace(
        recipe={"dataset": dataset, "seed": seed, "fold": 0, "preset": "quick", "data": {}},
        data=SimpleNamespace(name=dataset, made={"parameters": parameters, "preset": "quick"}),
        metrics={name.removeprefix("in_"): {"accuracy": accuracy} for name in every},
        name=f"{dataset}-{hardness}-{seed}",
        classes=["a", "b"],
        heads={},
        arrays=lambda: arrays,
    )


def test_a_curve_has_a_row_for_each_run_in_order() -> None:
    table = calibration.curve([run("kdef-twin", 0.5, 0.7), run("kdef-twin", 0.25, 0.8), run("bu3dfe-twin", 0.5, 0.6)])
    assert table["twin"].tolist() == ["bu3dfe-twin", "kdef-twin", "kdef-twin"]
    assert table["hardness"].tolist() == [0.5, 0.25, 0.5]
    assert table.loc[1, ["accuracy", "low", "high"]].tolist() == pytest.approx([80, 77.5, 82.5], abs=0.2)
    assert table.loc[1, "levels"] == "".join(map(str, twin_designs.parameters("kdef-twin", "quick").levels))
    assert calibration.curve([]).empty


@pytest.mark.parametrize(
    ("accuracy", "lands"), [(0.844, "inside"), (0.86, "interval meets it"), (0.95, "above"), (0.7, "below")]
)
def test_where_a_twin_lands(accuracy: float, lands: str) -> None:
    now = calibration.taken("kdef-twin")
    table = calibration.standing([run("kdef-twin", now, accuracy), run("kdef-twin", 0.9, 0.2)])
    assert table["lands"].tolist() == [lands] and table["ours"].tolist() == [pytest.approx(100 * accuracy)]
    assert (table["published from"][0], table["to"][0]) == calibration.band("kdef-twin")


def test_only_runs_on_the_twin_as_it_is_count() -> None:
    now = calibration.taken("kdef-twin")
    as_it_is, changed, older = run("kdef-twin", now, 0.8), run("kdef-twin", 0.9, 0.5), run("kdef-twin", now, 0.8)
    changed.recipe["data"] = at_hardness(0.9)
    older.data.made["parameters"] = older.data.made["parameters"] | {"noise": 0.5}
    assert calibration.at_taken([as_it_is, changed, older]) == [as_it_is]


def test_accuracy_by_yaw_is_the_estimate_over_runs() -> None:
    table = calibration.by_yaw([run("kdef-twin", 0.5, 0.8), run("kdef-twin", 0.5, 0.6, seed=1)])
    assert table["yaw"].tolist() == [-45, 0] and table["accuracy"].tolist() == pytest.approx([70, 70])
    assert (table["low"] < 60).all() and (table["high"] > 80).all(), "two seeds say little, however many images"
    axes = figures_data.accuracy_by_yaw(table)
    assert axes.get_legend_handles_labels()[1] == ["KDEF"]


def test_confusions_by_hand() -> None:
    record = run("kdef-twin", 0.5, 0.8)
    record.classes = ["fear", "anger", "neutral"]
    record.arrays = lambda: {"confusion_test": np.array([[6, 4, 0], [1, 8, 1], [0, 0, 0]])}
    table = calibration.confusions([record, record], most=2)
    assert table.to_numpy().tolist() == [["kdef-twin", "fear", "anger", 40.0], ["kdef-twin", "anger", "neutral", 10.0]]


def test_the_figure_shows_bands_runs_and_what_was_taken() -> None:
    now = calibration.taken("kdef-twin")
    found = [run("kdef-twin", now, 0.75), run("kdef-twin", now, 0.85, seed=1), run("kdef-twin", 0.5, 0.7)]
    table = calibration.settings(found)
    bands = {twin: calibration.band(twin) for twin in ("kdef-twin", "bu3dfe-twin")}
    figure = figures_data.calibration_points(table, bands)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["KDEF", "BU-3DFE"]
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert sorted(line.get_xdata()[0] for line in dots) == pytest.approx([70, 80])
    filled = {round(line.get_xdata()[0]): line.get_markerfacecolor() != "white" for line in dots}
    assert filled == {80: True, 70: False}
    assert [label.get_text() for label in first.get_yticklabels()] == [
        "level 4, hardness 0.1 (2 runs)",
        "level 4, hardness 0.5 (1 run)",
    ]
    assert [text.get_text() for text in second.texts] == ["no run yet"]
    pd.testing.assert_frame_equal(figure.numbers, table)
