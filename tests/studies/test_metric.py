"""What a metric made of faces: against loops, and where the answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from test_records import record_of

from fercore import records
from fercore.errors import RecordError
from fercore.figures import dmlnet as figures_dmlnet
from fercore.records import Record
from fercore.studies import metric

matplotlib.use("Agg")
LABELS, PANS = np.arange(60) % 2, np.array([-45, 0, 45])[np.arange(60) // 2 % 3]
PEOPLE = np.array([f"p{k}" for k in np.arange(60) // 12])


def saved(folder: Path, by: np.ndarray, key: str = "1" * 10, **arrays: Any) -> Record:
    """A record whose 60 test images lie where ``by`` says, one direction for each of its values."""
    names = np.unique(by, return_inverse=True)[1]
    points = np.eye(names.max() + 1)[names] + np.random.default_rng(0).normal(0, 0.01, (60, names.max() + 1))
    pans = {f"in_pan_{pan:+d}": pan == PANS for pan in (-45, 0, 45)}
    whole = {
        "labels": LABELS, "probabilities": np.eye(2)[LABELS], "samples": np.arange(60).astype(str),
        "subjects": PEOPLE, "features": points, "in_test": np.ones(60, bool), **pans,
    } | arrays  # fmt: skip
    return records.write(record_of(key), {k: v for k, v in whole.items() if v is not None}, folder)


def test_distances_against_a_loop(tmp_path: Path) -> None:
    record = saved(tmp_path, LABELS, features=np.random.default_rng(1).normal(0, 1, (60, 3)))
    points, sums = record.arrays()["features"].astype(float), {name: [] for name in metric.CHANGES}
    every = []
    for i in range(60):
        for j in range(60):
            if i == j:
                continue
            apart = ((points[i] - points[j]) ** 2).sum()
            every.append(apart)
            same = {"labels": LABELS[i] == LABELS[j], "poses": PANS[i] == PANS[j], "subjects": PEOPLE[i] == PEOPLE[j]}
            for name, changed in metric.CHANGES.items():
                if not same[changed] and sum(same.values()) == 2:
                    sums[name].append(apart)
    found = metric.distances(record)
    for name, own in sums.items():
        assert found[name] == pytest.approx(np.mean(own) / np.mean(every)), name


def test_a_metric_of_expressions_alone_and_one_of_people_alone(tmp_path: Path) -> None:
    faces, people = saved(tmp_path, LABELS), saved(tmp_path, PEOPLE, key="2" * 10)
    near = metric.distances(faces)
    assert near.iloc[0] < 0.01 and near.iloc[1] < 0.01 and near.iloc[2] > 1.5
    assert metric.distances(people).iloc[[0, 2]].max() < 0.01 < 1 < metric.distances(people).iloc[1]
    told = metric.silhouettes(faces)
    assert told["expression"] > 0.9 and told["pose"] < 0.1 and told["person"] < 0.1
    assert metric.silhouettes(people)["person"] > 0.9
    table = metric.distances_of_runs({"faces": [faces], "both": [faces, people]})
    assert table["network"].value_counts().to_dict() == {"faces": 3, "both": 6}
    assert table["value"].tolist() == pytest.approx([*near, *near, *metric.distances(people)])
    axes = figures_dmlnet.distance_bars(table)
    assert len(axes.figure.numbers) == 9 and axes.get_legend() is not None


def test_people_who_lie_together_are_gathered_and_others_by_chance(tmp_path: Path) -> None:
    found = metric.gathered(saved(tmp_path, PEOPLE), "happiness", 5)
    assert (found.images, found.people, found.agreement, found.together) == (10, 5, pytest.approx(1.0), 1)
    assert 0.5 <= found.by_chance < 0.7, "one of a person's two images, and at times both"
    apart = metric.gathered(saved(tmp_path, LABELS, key="2" * 10), "happiness", 5)
    assert apart.agreement < 0.4
    with pytest.raises(RecordError, match="no class 'joy'"):
        metric.gathered(saved(tmp_path, PEOPLE), "joy", 5)
    for groups in (0, 11):
        with pytest.raises(RecordError, match="take 1 to 10 groups"):
            metric.gathered(saved(tmp_path, PEOPLE), "happiness", groups)
    with pytest.raises(RecordError, match="take one of: -45, 0, 45"):
        metric.gathered(saved(tmp_path, PEOPLE), "happiness", 5, pan=17)


def test_planes_keep_neighbours_and_are_drawn_by_expression_and_pose(tmp_path: Path) -> None:
    plane = metric.plane(saved(tmp_path, PEOPLE))
    centres = np.array([plane.points[name == PEOPLE].mean(0) for name in np.unique(PEOPLE)])
    nearest = np.linalg.norm(plane.points[:, None] - centres, axis=2).argmin(1)
    assert (nearest == np.unique(PEOPLE, return_inverse=True)[1]).all()
    assert len(metric.plane(saved(tmp_path, PEOPLE), most=30).points) == 30
    figure = figures_dmlnet.planes({"a": plane, "b": plane}, ["neutral", "happiness"])
    assert len(figure.axes) == 4 and len(figure.numbers) == 120
    assert set(figure.numbers["pose"]) == {-45, 0, 45}


def test_losses_are_drawn_as_shares_of_the_first_epoch() -> None:
    history = [{"epoch": e, "loss_expression": 2.0 / e, "loss_pose": 1.0 / e, "loss_triplet": 0.5} for e in (1, 2)]
    figure = figures_dmlnet.losses({"KDEF": {"equal": history, "dynamic": history}, "SFEW": {"equal": history}})
    lines = figure.axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [[1, 0.5], [1, 0.5], [1, 1]] * 2
    assert [line.get_linestyle() for line in lines] == ["--"] * 3 + ["-"] * 3
    assert len(figure.numbers) == 3 * 2 * 3 and figure.numbers["loss"].max() == 2


def test_images_are_drawn_from_all_poses(tmp_path: Path) -> None:
    plane = metric.plane(saved(tmp_path, PEOPLE), most=20)  # every third one would be of one pan
    assert len(plane.points) == 20 and set(plane.poses) == {-45, 0, 45}


def test_a_record_without_pans_is_refused(tmp_path: Path) -> None:
    pans = dict.fromkeys(("in_pan_-45", "in_pan_+0", "in_pan_+45"))
    with pytest.raises(RecordError, match="does not know the pans and people"):
        metric.distances(saved(tmp_path, LABELS, **pans))
