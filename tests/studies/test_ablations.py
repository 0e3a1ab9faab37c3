"""Ablations: rows are recipes that differ in one thing, tables pair each run with the published setting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_records import record_of

from fercore import figures, records
from fercore.errors import ParameterError, RecordError
from fercore.papers import lan
from fercore.recipe import Recipe
from fercore.records import Record
from fercore.studies import ablations


def test_every_row_changes_one_thing_and_each_recipe_comes_once() -> None:
    found = list(ablations.recipes("lan", seed=3))
    own = lan.recipe("quick", "kdef-twin", seed=3)
    assert found[0] == own and len({recipe.key() for recipe in found}) == len(found)
    rows = [changes for rows in ablations.ROWS["lan"].values() for changes in rows.values() if changes]
    assert len(found) == 1 + len(rows)
    for recipe in found[1:]:
        differing = {name for name, value in recipe.model_dump().items() if value != own.model_dump()[name]}
        assert len(differing) == 1


@pytest.mark.parametrize("paper", ablations.ROWS)
def test_each_ablation_has_one_row_as_published(paper: str) -> None:
    for rows in ablations.ROWS[paper].values():
        assert sum(not changes for changes in rows.values()) == 1


def test_published_rows_are_those_of_the_table() -> None:
    assert ablations.quoted("lan", "fusion") == {"addition": 60.88, "concatenation": 60.2, "averaging": 59.4}
    pcda = ablations.quoted("pcda", "attention")
    assert len(pcda) == 8 and pcda["none"] == 91.3 and max(pcda, key=pcda.get) == "dot+cross+NeAA"
    assert ablations.quoted("pcda", "map")["Max+Repeat"] == pcda["dot+cross+NeAA"]


def test_choosing_an_ablation() -> None:
    assert list(ablations.chosen("lan", "alpha")) == ["alpha"] and ablations.chosen("lan") == ablations.ROWS["lan"]
    with pytest.raises(ParameterError, match="did you mean 'fusion'"):
        ablations.chosen("lan", "fuson")


def saved(tmp_path: Any, recipe: Recipe, key: str, right: list[int]) -> Record:
    """A record on six images of two people, of which ``right`` are right."""
    answers = np.where(np.isin(np.arange(6), right), 0, 1)
    arrays = {
        "labels": np.zeros(6, int),
        "probabilities": np.eye(2)[answers],
        "samples": np.array(list("abcdef")),
        "subjects": np.array(list("xxxyyy")),
        "in_test": np.ones(6, bool),
    }
    base = record_of(key)
    record = base.model_copy(update={"recipe": recipe.model_dump(), "metrics": {"test": {"accuracy": len(right) / 6}}})
    return records.write(record, arrays, tmp_path)


def test_a_table_pairs_each_run_with_the_published_setting(tmp_path: Any) -> None:
    own = lan.recipe("quick", "kdef-twin")
    for number, (changes, right) in enumerate({"": [0, 1, 2], "concat": [0, 1, 2, 3, 4, 5], "mean": [2]}.items()):
        saved(tmp_path, own.but(fusion=changes) if changes else own, str(number) * 10, right)
    saved(tmp_path, own.but(seed=1), "9" * 10, [0])  # of another seed: no row
    found = ablations.runs("lan", root=tmp_path)
    assert list(found["fusion"]) == ["addition", "concatenation", "averaging"] and list(found["alpha"]) == ["0.5"]
    table = ablations.table(found, "lan")
    rows = table[table["ablation"] == "fusion"].set_index("row")
    assert rows["accuracy"].tolist() == pytest.approx([50, 100, 100 / 6])
    assert np.isnan(rows["difference"]["addition"])
    # Person x: 3 of 3 before, person y: 0 of 3; concatenation adds y's three images, averaging loses two of x's.
    assert rows.loc["concatenation", ["difference", "low", "high"]].tolist() == pytest.approx([50, 0, 100])
    assert rows.loc["averaging", ["difference", "low", "high"]].tolist() == pytest.approx([-100 / 3, -200 / 3, 0])
    # McNemar: 3 of 3 one way, p = 2 / 8; 2 of 2, p = 2 / 4. Holm: the smaller times two, the larger at least that.
    assert rows["p (Holm)"].tolist()[1:] == pytest.approx([0.5, 0.5])
    axes = figures.differences(table, against="own")
    assert [label.get_text() for label in axes.get_yticklabels()] == table["row"].tolist()


def test_over_seeds_each_row_is_held_against_the_published_setting_of_its_seed(tmp_path: Any) -> None:
    right = {"add": ([0], [0, 1], [0, 1, 2]), "concat": ([0, 1], [0, 1, 2], [0, 1, 2, 3]), "mean": ([0, 1],)}
    for fusion, of_seeds in right.items():
        for seed, answers in enumerate(of_seeds):
            recipe = lan.recipe("quick", "kdef-twin", seed=seed, fusion=fusion)
            saved(tmp_path, recipe, f"{fusion[0]}{seed}" * 5, answers)
    table = ablations.over_seeds("lan", "quick", "kdef-twin", tmp_path)
    rows = table[table["ablation"] == "fusion"].set_index("row")
    assert rows["seeds"].to_dict() == {"addition": 3, "concatenation": 3, "averaging": 1}
    assert rows["accuracy"].tolist() == pytest.approx([100 / 3, 50, 100 / 3])
    # One image of six more in every seed: no spread over seeds, whatever the seeds' own levels are.
    assert rows.loc["concatenation", ["difference", "low", "high"]].tolist() == pytest.approx([100 / 6] * 3)
    assert rows["wins"].tolist()[1:] == [3, 1] and np.isnan(rows.loc["addition", "difference"])
    assert rows.loc["averaging", "difference"] == pytest.approx(100 / 6) and np.isnan(rows.loc["averaging", "low"])
    assert figures.differences(table, against="own").get_xlabel() == "difference in points"


def test_over_seeds_needs_the_published_setting(tmp_path: Any) -> None:
    saved(tmp_path, lan.recipe("quick", "kdef-twin", fusion="mean"), "1" * 10, [0])
    with pytest.raises(RecordError, match="No record of the published setting"):
        ablations.over_seeds("lan", "quick", "kdef-twin", tmp_path)


def test_a_table_needs_the_published_setting(tmp_path: Any) -> None:
    saved(tmp_path, lan.recipe("quick", "kdef-twin", fusion="mean"), "1" * 10, [0])
    found = {"fusion": ablations.runs("lan", root=tmp_path)["fusion"]}
    with pytest.raises(RecordError, match="No record of the published setting"):
        ablations.table(found, "lan")


def test_runs_on_other_images_are_not_paired(tmp_path: Any) -> None:
    one = saved(tmp_path, lan.recipe("quick", "kdef-twin"), "1" * 10, [0])
    two = saved(tmp_path, lan.recipe("quick", "kdef-twin", fusion="mean"), "2" * 10, [0])
    arrays = two.arrays() | {"samples": np.array(list("abcdeg"))}
    other = records.write(two.model_copy(update={"key": "3" * 10}), arrays, tmp_path / "other")
    with pytest.raises(RecordError, match="not tested on the same images"):
        records.paired(one, other)


def test_a_row_is_said_in_words() -> None:
    lines = pd.DataFrame({"row": ["a", "b", "b"], "difference": [np.nan, np.nan, -0.254], "low": -0.5, "high": 0.04})
    assert ablations.said(lines, "b") == "-0.25 points [-0.50, +0.04]"
    with pytest.raises(ParameterError, match="no row that changes something 'a'"):
        ablations.said(lines, "a")
