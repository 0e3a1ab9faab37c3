"""Twin and real set: the arms differ in nothing but the data, and tables say what the runs say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fercore import intervals
from fercore.data import twin_designs
from fercore.errors import ParameterError
from fercore.figures import data as figures_data
from fercore.papers import baselines
from fercore.studies import reality


def test_the_stage_on_the_twin_is_trained_once_a_seed() -> None:
    def stage(recipe: baselines.BaselineRecipe) -> str:
        (own,) = baselines.stages(recipe).values()
        return own.key()

    stages = {stage(reality.fine_tuned(share, "twin", 1)) for share in reality.SHARES}
    assert stages == {stage(reality.rendered_only(1))}
    assert stage(reality.rendered_only(2)) not in stages
    assert stage(reality.rendered_only(1, "many people")) not in stages
    assert baselines.stages(reality.fine_tuned(1.0, "people")) == {}, "nothing is between people and real labels"


@pytest.mark.parametrize("share", reality.SHARES)
def test_arms_differ_in_what_comes_before_alone(share: float) -> None:
    none, twin, people = (reality.fine_tuned(share, before).model_dump() for before in reality.BEFORE)
    assert {name for name in twin if twin[name] != none[name]} - {"also_on"} == {"pretraining", "backbone_epochs"}
    assert {name for name in people if people[name] != none[name]} - {"also_on"} == {"start"}
    assert (none["also_on"], twin["also_on"]) == ("ferplus-twin" if share == 1 else "", "ferplus-twin")
    assert people["also_on"] == ""
    assert none["backbone_epochs"] == 0
    with pytest.raises(ParameterError, match="twin, people"):
        reality.fine_tuned(share, "nothing")


@pytest.mark.parametrize("without", reality.WITHOUT)
def test_what_is_taken_away_are_parameters_of_the_twin(without: str) -> None:
    changed = twin_designs.parameters(reality.TWIN, "quick", **reality.WITHOUT[without])
    assert changed != twin_designs.parameters(reality.TWIN, "quick")


CLASSES = ["fear", "anger"]


def matrix(accuracy: float) -> np.ndarray:
    """The confusions of 150 and 50 images of two classes, of which the first one is answered as often as it can be."""
    right = round(200 * accuracy)
    first = min(right, 150)
    return np.array([[first, 150 - first], [50 - right + first, right - first]])


def balanced(accuracy: float) -> float:
    """The mean recall of :func:`matrix`, per cent."""
    return 100 * (min(200 * accuracy / 150, 1) + max(200 * accuracy - 150, 0) / 50) / 2


def run(recipe: Any, real: float, twin: float) -> Any:
    """A record of a run that is right on these shares of 200 real and 200 rendered images."""
    own, other = (twin, real) if recipe.dataset == reality.TWIN else (real, twin)
    kinds = {"test": matrix(own)} | ({f"on_{recipe.also_on}": matrix(other)} if recipe.also_on else {})
    metrics = {
        name: {"accuracy": m.trace() / 200, "balanced_accuracy": (m.diagonal() / m.sum(1)).mean()}
        for name, m in kinds.items()
    }
    labels, answers = (np.repeat(index.ravel(), kinds["test"].ravel()) for index in np.indices((2, 2)))
    arrays = {
        "labels": labels, "probabilities": np.eye(2)[answers], "samples": np.arange(200).astype(str),
        "in_test": np.ones(200, bool), **{f"confusion_{name}": m for name, m in kinds.items() if name != "test"},
    }  # fmt: skip
    return SimpleNamespace(
        recipe=recipe.model_dump(), metrics=metrics, name=recipe.key(), classes=CLASSES, heads={}, arrays=lambda: arrays
    )


def test_the_table_tells_real_from_twin() -> None:
    found = [
        run(reality.rendered_only(0), 0.4, 0.8),
        run(reality.rendered_only(0, "ambiguous faces"), 0.3, 0.9),
        run(reality.fine_tuned(0.1, "twin"), 0.7, 0.6),
        run(reality.fine_tuned(1.0, ""), 0.6, 0.2),
        run(reality.fine_tuned(0.1, "people"), 0.5, 0.1),
    ]
    table = reality.table(found)
    assert table["learnt on"].tolist() == ["twin", "twin", "twin, then real", "real", "people, then real"]
    assert table["without"].tolist() == ["", "ambiguous faces", "", "", ""]
    assert table["accuracy"].tolist() == pytest.approx([40, 30, 70, 60, 50])
    assert table["balanced"].tolist() == pytest.approx([balanced(v) for v in (0.4, 0.3, 0.7, 0.6, 0.5)])
    assert table["on twin"].tolist() == pytest.approx([80, 90, 60, 20, np.nan], nan_ok=True)
    assert table["share"].tolist() == [0, 0, 0.1, 1.0, 0.1]


@pytest.mark.parametrize("other", ["twin", "people"])
def test_gains_by_hand(other: str) -> None:
    values = {0: (0.7, 0.6), 1: (0.72, 0.64), 2: (0.71, 0.62)}
    after, real = (
        [run(reality.fine_tuned(0.1, before, seed), pair[k], 0.5) for seed, pair in values.items()]
        for k, before in enumerate((other, ""))
    )
    more = run(reality.fine_tuned(0.1, other, 3), 0.9, 0.5)
    table = reality.gains([*after, *real, more], other)
    assert table["metric"].tolist() == ["accuracy", "balanced"] and table["share"].tolist() == [0.1, 0.1]
    assert table["seeds"].tolist() == [3, 3], "a seed without a partner does not count"
    assert table["gain"].tolist() == pytest.approx([9, balanced(0.71) - balanced(0.62)])  # 10, 8 and 9 points
    paired = intervals.estimate(after, against=real)
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([100 * paired.low, 100 * paired.high])
    spread = 4.302653 * 1 / 3**0.5  # of the seeds alone, t of 2 degrees of freedom
    assert table.loc[0, "high"] - 9 > 0.5 * spread > 0, "images add to it, and degrees of freedom"
    assert reality.gains([after[0], real[0]], other).empty, "one seed says nothing"


def test_levels_are_means_over_seeds_of_real_images() -> None:
    found = [run(reality.fine_tuned(0.1, "twin", seed), value, 0.3) for seed, value in enumerate((0.7, 0.74, 0.72))]
    found.append(run(reality.rendered_only(0), 0.4, 0.9))
    table = reality.levels(found, "balanced").set_index("learnt on")
    assert table["balanced"].to_dict() == pytest.approx({"twin, then real": balanced(0.72), "twin": balanced(0.4)})
    assert table["seeds"].to_dict() == {"twin, then real": 3, "twin": 1}
    own = intervals.estimate(found[:3], "balanced_accuracy")
    assert table.loc["twin, then real", ["low", "high"]].tolist() == pytest.approx([100 * own.low, 100 * own.high])
    alone = table.loc["twin"]
    assert alone["low"] < alone["balanced"] < alone["high"], "over the images of the real set"


def test_what_the_twin_is_worth_without_something() -> None:
    whole, less = np.diag([50, 10]), np.array([[40, 10], [0, 10]])
    matrices = {"": whole, "ambiguous faces": less, "many people": whole}
    found = []
    for name, counts in matrices.items():
        one = run(reality.rendered_only(0, name), 0.5, 0.5)
        one.arrays = lambda counts=counts: {"confusion_on_ferplus": counts}
        found.append(one)
    table = reality.ablation(found).set_index("row")
    assert table.index.tolist() == ["whole", "without many people", "without ambiguous faces"]
    assert table["balanced"].tolist() == pytest.approx([100, 100, 90])
    assert np.isnan(table.loc["whole", "difference"]) and table.loc["without many people", "difference"] == 0
    weak = table.loc["without ambiguous faces"]
    # 40 of 50 right in one of two classes: the recall's standard error is sqrt(0.8 * 0.2 / 50), half of it counts.
    error = 100 * (0.8 * 0.2 / 50) ** 0.5 / 2
    assert weak["difference"] == pytest.approx(-10)
    assert weak["high"] - weak["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert reality.ablation(found[1:]).empty, "nothing to hold them against"


def test_every_run_is_another_one() -> None:
    keys = [recipe.key() for recipe in reality.all_recipes(5)]
    assert len(set(keys)) == len(keys) == 5 + 3 * 3 * 5 + len(reality.WITHOUT)


def test_words_are_means_of_what_was_run() -> None:
    found = [
        run(reality.rendered_only(0), 0.4, 0.8),
        run(reality.rendered_only(1), 0.5, 0.6),
        run(reality.rendered_only(0, "ambiguous faces"), 0.0, 0.0),
        run(reality.fine_tuned(0.1, ""), 0.6, 0.2),
        run(reality.fine_tuned(0.01, ""), 0.1, 0.1),
        run(reality.fine_tuned(0.1, "twin"), 0.9, 0.9),
    ]
    words = {
        "real_share": "10 %", "twin_on_real": f"{balanced(0.45):.1f} %", "twin_on_twin": "70.0 %",
        "real_on_real": f"{balanced(0.6):.1f} %", "real_on_twin": "–",
    }  # fmt: skip
    assert reality.words(found) == words
    whole = reality.words([*found, run(reality.fine_tuned(1.0, ""), 0.8, 0.3)])
    assert (whole["real_share"], whole["real_on_twin"]) == ("all", "30.0 %")


@pytest.mark.parametrize("before", [("",), ("", "people"), ("", "people", "twin")])
def test_a_line_for_each_thing_that_was_learnt_before(before: tuple[str, ...]) -> None:
    found = [
        run(reality.fine_tuned(share, name, seed), 0.5 + 0.1 * k + 0.01 * seed, 0.5)
        for share in reality.SHARES
        for k, name in enumerate(before)
        for seed in range(2)
    ]
    figure = figures_data.shares({"accuracy": reality.levels(found, "accuracy")})
    (axes,) = figure.axes
    shown = {line.get_label(): line[0] for line in axes.containers}
    assert list(shown) == ["real alone", *(f"{name}, then real" for name in before[1:])]
    for k, line in enumerate(shown.values()):
        assert line.get_xdata() == pytest.approx([1, 10, 100], rel=0.06), "a little aside at most"
        assert line.get_ydata() == pytest.approx([50.5 + 10 * k] * 3)
    assert len(figure.numbers) == 3 * len(before)
    plt.close(figure)
