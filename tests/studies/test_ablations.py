"""Ablations: rows are recipes that differ in one thing, tables pair each run with the full method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_records import record_of

from fercore import figures, intervals, papers, published, records
from fercore.errors import ParameterError, RecordError
from fercore.papers import lan
from fercore.recipe import Recipe
from fercore.records import Record
from fercore.studies import ablations

PAPERS = [paper for paper in papers.names() if published.ABOUT.get(paper, {}).get("ablations")]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_row_changes_one_thing_and_one_changes_nothing(paper: str) -> None:
    recipe = papers.module(paper).recipe
    own = recipe("quick", "kdef-twin")
    for rows in published.ablations(paper).values():
        assert list(rows.values()).count({}) == 1
        made = [recipe("quick", "kdef-twin", **changes) for changes in rows.values()]
        assert len({one.key() for one in made}) == len(rows)
        for changes, one in zip(rows.values(), made, strict=True):
            assert {name for name, value in one if value != getattr(own, name)} == set(changes)


def test_published_rows_are_those_of_the_table() -> None:
    assert published.of_ablation("lan", "fusion") == {"addition": 60.88, "concatenation": 60.2, "averaging": 59.4}
    pcda = published.of_ablation("pcda", "attention")
    assert len(pcda) == 8 and pcda["none"] == 91.3 and max(pcda, key=lambda row: pcda[row]) == "dot+cross+NeAA"
    assert published.of_ablation("pcda", "map")["Max+Repeat"] == pcda["dot+cross+NeAA"]
    with pytest.raises(ParameterError, match="prints no table of 'alpha'"):
        published.of_ablation("lan", "alpha")


def test_choosing_an_ablation() -> None:
    assert list(ablations.chosen("lan", "alpha")) == ["alpha"]
    assert ablations.chosen("lan") == published.ablations("lan")
    with pytest.raises(ParameterError, match="did you mean 'fusion'"):
        ablations.chosen("lan", "fuson")


PEOPLE = 4


def saved(root: Path, recipe: Recipe, right: Sequence[int]) -> Record:
    """A record on twelve images of four people, of which so many of each person are right."""
    answers = np.concatenate([[0] * number + [1] * (3 - number) for number in right])
    arrays = {
        "labels": np.zeros(3 * PEOPLE, int),
        "probabilities": np.eye(2)[answers],
        "samples": np.array([f"{number:02}" for number in range(3 * PEOPLE)]),
        "subjects": np.repeat(list("wxyz"), 3),
        "in_test": np.ones(3 * PEOPLE, bool),
    }
    metrics = {"test": {"accuracy": sum(right) / (3 * PEOPLE)}}
    update = {"recipe": recipe.model_dump(), "key": recipe.key(), "metrics": metrics}
    return records.write(record_of().model_copy(update=update), arrays, root)


def own(**changes: object) -> Recipe:
    return lan.recipe("quick", "kdef-twin", **changes)


def test_a_table_pairs_each_run_with_the_published_setting_of_its_seed_and_fold(tmp_path: Path) -> None:
    saved(tmp_path, own(), [1, 1, 1, 1])
    saved(tmp_path, own(seed=1), [3, 3, 3, 2])
    saved(tmp_path, own(fusion="concat"), [2, 2, 2, 2])
    saved(tmp_path, own(fusion="mean", seed=1), [3, 3, 2, 1])
    saved(tmp_path, own(fusion="mean", seed=2), [0, 0, 0, 0])  # of a seed that the full method has not
    found = ablations.runs("lan", root=tmp_path)
    assert list(found["fusion"]) == ["addition", "concatenation", "averaging"] and list(found["alpha"]) == ["0.5"]
    table = ablations.table(found, "lan")
    rows = table[table["ablation"] == "fusion"].set_index("row")
    assert rows["accuracy"].tolist() == pytest.approx([62.5, 200 / 3, 75])
    assert rows["seeds"].tolist() == [2, 1, 1] and rows["folds"].tolist() == [1, 1, 1]
    assert rows["wins"].tolist()[1:] == ["1 of 1", "0 of 1"] and np.isnan(rows["difference"]["addition"])
    # Each person has one image of three more: no spread that could be measured, so each counts as one image.
    assert rows.loc["concatenation", "difference"] == pytest.approx(100 / 3)
    assert rows.loc["concatenation", "low"] < 0 and rows.loc["concatenation", "high"] == 100
    assert rows.loc["averaging", "difference"] == pytest.approx(-100 / 6)
    low, high = rows.loc["averaging", ["low", "high"]]
    assert low < -100 / 6 < 0 < high, "two of four people lose one image each: t(3)"
    axes = figures.differences(table, against="own")
    assert [label.get_text() for label in axes.get_yticklabels()] == table["row"].tolist()


def test_as_good_is_no_win(tmp_path: Path) -> None:
    for changes in ({}, {"fusion": "mean"}):
        saved(tmp_path, own(**changes), [1, 2, 1, 2])
    found = ablations.runs("lan", root=tmp_path)
    rows = ablations.table(found, "lan").query("ablation == 'fusion'").set_index("row")
    assert rows.loc["averaging", "wins"] == "0 of 1"


def test_over_seeds_and_folds_a_row_is_held_against_its_own_partner(tmp_path: Path) -> None:
    for place, level in enumerate(([1, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 1])):
        for name in ("seed", "fold"):
            saved(tmp_path / name, own(**{name: place}), level)
            saved(tmp_path / name, own(**{name: place}, fusion="concat"), [number + 1 for number in level])
    for name in ("seed", "fold"):
        table = ablations.table(ablations.runs("lan", root=tmp_path / name), "lan")
        row = table[table["row"] == "concatenation"].iloc[0]
        assert (row[f"{name}s"], row["wins"]) == (3, "3 of 3")
        # One image of three more of everybody in every run: no spread, whatever the runs' own levels are.
        assert row["difference"] == pytest.approx(100 / 3) and row["low"] < 0 and row["high"] == 100


def test_p_is_corrected_for_all_rows_of_all_ablations(tmp_path: Path) -> None:
    saved(tmp_path, own(), [1, 1, 1, 1])
    for changes, right in (
        ({"fusion": "concat"}, [2, 2, 2, 1]),
        ({"alpha": 0.0}, [2, 2, 1, 1]),
        ({"clusters": 3}, [1, 1, 1, 2]),
    ):
        saved(tmp_path, own(**changes), right)
    found = ablations.runs("lan", root=tmp_path)
    table = ablations.table(found, "lan").set_index("row")["p (Holm)"]
    rows = {row: runs for own_rows in found.values() for row, runs in own_rows.items()}
    alone = {row: intervals.estimate(rows[row], against=rows["addition"]).p for row in ("concatenation", "none", "3")}
    # Three runs are compared; one of them stands in two ablations (alpha 0, no guidance) and counts once.
    assert table[list(alone)].to_dict() == pytest.approx(intervals.holm(alone)) and table["0"] == table["none"]
    assert table["concatenation"] == pytest.approx(3 * alone["concatenation"])


def test_a_table_needs_the_published_setting(tmp_path: Path) -> None:
    saved(tmp_path, own(fusion="mean"), [0, 0, 1, 0])
    with pytest.raises(RecordError, match=r"No record of the full method \(fusion: addition\)"):
        ablations.table(ablations.runs("lan", root=tmp_path), "lan")


def test_runs_on_other_images_are_not_paired(tmp_path: Path) -> None:
    saved(tmp_path, own(), [1, 1, 1, 1])
    other = saved(tmp_path, own(fusion="mean"), [2, 1, 1, 1])
    names = other.arrays()["subjects"]
    records.write(other, other.arrays() | {"subjects": np.char.add(names, "a")}, tmp_path)
    with pytest.raises(RecordError, match="not tested on the same images"):
        ablations.table(ablations.runs("lan", root=tmp_path), "lan")


def test_rows_without_a_run_are_named() -> None:
    every = {name: {row: [object()] for row in rows} for name, rows in published.ablations("pcda").items()}
    assert ablations.not_run(every, "pcda") == "none"
    del every["map"]["Conv"], every["blocks"]
    lost = [f"{row} (blocks)" for row in published.ablations("pcda")["blocks"]]
    assert sorted(ablations.not_run(every, "pcda").split(", ")) == sorted(["Conv (map)", *lost])
    every["map"]["Max+Repeat"] = []
    assert "Max+Repeat (map)" in ablations.not_run(every, "pcda")


def test_a_row_is_said_in_words() -> None:
    lines = pd.DataFrame({"row": ["a", "b", "b"], "difference": [np.nan, np.nan, -0.254], "low": -0.5, "high": -0.001})
    assert ablations.in_words(lines, "b") == "−0.25 points (−0.50 to +0.00)"
    with pytest.raises(ParameterError, match="no row that changes something 'a'"):
        ablations.in_words(lines, "a")
