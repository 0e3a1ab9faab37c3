"""What features say: spreads of classes, a linear reading for unseen people, accuracy by arousal, and their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from test_records import record_of

from fercore import records
from fercore.errors import RecordError
from fercore.figures import features as figures_features
from fercore.records import Record
from fercore.studies import features

matplotlib.use("Agg")


def saved(folder: Path, key: str = "1" * 10, noise: float = 0.0, **arrays: Any) -> Record:
    """A record on 60 images of 12 people, whose first component is arousal, the second valence, plus noise."""
    rng = np.random.default_rng(3)
    arousal, valence = rng.uniform(-0.2, 1, 60), rng.uniform(-1, 1, 60)
    lies = np.stack([arousal, valence, rng.normal(0, 0.01, 60)], 1) + noise * rng.normal(0, 1, (60, 3))
    labels = (valence > 0).astype(int)
    answers = np.where(arousal > 0.3, labels, 1 - labels)
    whole = {
        "labels": labels,
        "probabilities": np.eye(2)[answers],
        "samples": np.arange(60).astype(str),
        "subjects": np.array([f"p{k % 12}" for k in range(60)]),
        "in_test": np.ones(60, bool),
        "features": lies.astype(np.float16),
        "features_share": np.array([0.6, 0.3, 0.1], np.float32),
        "known_arousal": arousal.astype(np.float16),
        "known_valence": valence.astype(np.float16),
    }
    return records.write(record_of(key), {k: v for k, v in (whole | arrays).items() if v is not None}, folder)


def test_spreads_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    points, labels = rng.normal(0, 1, (40, 3)), rng.integers(0, 3, 40)
    table = features.spreads(points, labels, ["a", "b", "c", "never"]).set_index("class")
    total = sum(((p - points.mean(0)) ** 2).sum() for p in points) / 40
    for k, name in enumerate("abc"):
        own = [p for p, label in zip(points, labels, strict=True) if label == k]
        centre = sum(own) / len(own)
        assert table.loc[name, "spread"] == pytest.approx(
            sum(((p - centre) ** 2).sum() for p in own) / len(own) / total
        )
    assert list(table.index) == ["a", "b", "c"] and table["images"].sum() == 40
    one = features.spreads(points, np.zeros(40, int), ["all"])
    assert one["spread"].tolist() == pytest.approx([1]), "one class is as loose as everything together"
    assert features.spreads(np.eye(2)[labels % 2], labels % 2, ["x", "y"])["spread"].tolist() == [0, 0]


def test_spreads_of_several_runs_are_their_mean(tmp_path: Path) -> None:
    runs = [saved(tmp_path, "1" * 10), saved(tmp_path, "2" * 10, noise=0.5)]
    each = [features.spreads(features.of(r), r.arrays()["labels"], r.classes)["spread"].to_numpy() for r in runs]
    table = features.spreads_of_runs({"both": runs, "first": runs[:1]})
    assert list(table.columns) == ["class", "images", "both", "first"]
    assert table["both"].to_numpy() == pytest.approx(np.mean(each, axis=0)) and not np.allclose(each[0], each[1])
    assert table["first"].to_numpy() == pytest.approx(each[0])


def test_what_lies_in_the_features_can_be_read_off_and_what_does_not_can_not(tmp_path: Path) -> None:
    read = features.affect(saved(tmp_path))
    assert read["arousal"].r2 > 0.99 and read["valence"].r2 > 0.99
    people = np.array([f"p{k % 12}" for k in range(60)])
    assert features.read_off(np.random.default_rng(1).normal(0, 1, (60, 3)), np.arange(60.0), people).r2 < 0.2


def test_no_person_is_predicted_by_their_own_images() -> None:
    """A column for each person gives them away: within people it would predict all, across people nothing."""
    people = np.repeat(np.arange(10), 6)
    values = np.random.default_rng(2).normal(0, 1, 10)[people]
    assert features.read_off(np.eye(10)[people], values, people).r2 < 0.1


def test_accuracy_by_arousal(tmp_path: Path) -> None:
    one, two = saved(tmp_path), saved(tmp_path, "2" * 10, probabilities=np.eye(2)[np.zeros(60, int)])
    table = features.by_arousal({"half": [one, two], "one": [one]})
    assert set(table["name"]) == {"half", "one"} and (table.groupby("name")["images"].sum() == 60).all()
    most = saved(tmp_path / "most", known_arousal=np.where(np.arange(60) < 7, 1, 0).astype(np.float16))
    edge = features.by_arousal({"one": [most]})
    assert edge["images"].sum() == 60 and edge[edge["to"] == 1]["images"].item() == 7, "the last band has its edge"
    first = table[table["name"] == "one"]
    assert (first.loc[first["from"] >= 0.3, "accuracy"] == 100).all()
    assert (first.loc[first["to"] <= 0.3, "accuracy"] == 0).all()
    # The second run says 0 throughout: an image counts by the share of runs that have it right.
    arrays = one.arrays()
    strong = arrays["known_arousal"].astype(float) >= 0.6
    expected = 100 * (1 + (arrays["labels"][strong] == 0)).mean() / 2
    assert table[(table["name"] == "half") & (table["from"] == 0.6)]["accuracy"].item() == pytest.approx(expected)


def test_records_without_features_or_arousal_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"keeps no features(.|\n)*train it again"):
        features.of(saved(tmp_path, features=None))
    with pytest.raises(RecordError, match=r"does not know arousal(.|\n)*a record of a twin"):
        features.affect(saved(tmp_path, "2" * 10, known_arousal=None))


def test_figures_say_what_they_draw(tmp_path: Path) -> None:
    record = saved(tmp_path, noise=0.05)
    names = record.classes[:2]
    record = record.model_copy(update={"classes": names})
    numbers = figures_features.planes({"one": record, "two": record}).numbers
    assert len(numbers) == 4 and numbers["images"].sum() == 120
    own = features.of(record)[record.arrays()["labels"] == 0, 0].mean()
    assert numbers.iloc[0]["x"] == pytest.approx(own)
    plane = figures_features.affect_planes(record).numbers
    assert len(plane) == 60 and np.corrcoef(plane["arousal, rendered"], plane["arousal, read off"])[0, 1] > 0.9
    table = features.by_arousal({"a": [record], "b": [record]})
    axes = figures_features.arousal_curves(table)
    assert len(axes.get_xticks()) == table["from"].nunique() and len(axes.get_legend().get_texts()) == 2
