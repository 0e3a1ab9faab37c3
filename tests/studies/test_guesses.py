"""Guessed poses and persons: right where the answer is known, and judged by what they are used for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny

from fercore.data import catalogue, estimates
from fercore.data.prepared import Prepared, open_prepared
from fercore.studies import guesses, regions


def posed(tmp_path: Path) -> Prepared:
    table = tiny.manifest(people=8, each=40)
    yaw = np.random.default_rng(0).choice([-60.0, -15.0, 0.0, 40.0], len(table))
    return open_prepared(tiny.write_prepared(tmp_path / "set", table.assign(yaw=yaw), size=6))


def test_the_yaw_of_rendered_faces_is_found_from_their_landmarks() -> None:
    data = catalogue.prepare("landmark-twin", "smoke")
    yaw = data.manifest["yaw"].to_numpy()[:200]
    near = np.abs(yaw) < 60
    found = guesses.yaws(data.landmarks()[:200])
    assert np.corrcoef(found[near], yaw[near])[0, 1] > 0.95 and np.median(np.abs(found - yaw)[near]) < 8


def test_five_points_are_the_eyes_the_nose_and_the_corners_of_the_mouth() -> None:
    points = np.arange(68 * 2, dtype=float).reshape(1, 68, 2)
    five = guesses.five_points(points)
    assert five.shape == (1, 5, 2)
    assert five[0, :, 0].tolist() == [2 * 38.5, 2 * 44.5, 60, 96, 108]


def test_like_faces_come_into_one_group() -> None:
    rng = np.random.default_rng(0)
    directions = np.eye(8)[np.arange(80) % 8] + rng.normal(0, 0.02, (80, 8))
    found = guesses.groups((directions * rng.uniform(1, 9, (80, 1))).astype(np.float32), each=10)
    assert len(np.unique(found)) == 8 and all(len(set(found[k::8])) == 1 for k in range(8)), "whatever their length"


def test_perfect_guesses_have_perfect_marks_and_shuffled_ones_those_of_chance(tmp_path: Path) -> None:
    data = posed(tmp_path)
    people = np.unique(data.manifest["subject"], return_inverse=True)[1]
    table = pd.DataFrame({"sample": data.manifest["sample"], "yaw": data.manifest["yaw"], "group": people})
    perfect = guesses.quality(data, table)
    assert perfect["yaw_error"] == 0 and perfect["pose"] == perfect["persons"] == 1
    assert all(perfect[role] == 1 for role in guesses.ROLES)
    rng = np.random.default_rng(1)
    by_chance = [
        guesses.quality(data, table.assign(yaw=rng.permutation(table["yaw"]), group=rng.permutation(people)))
        for _ in range(5)
    ]
    for role in guesses.ROLES:
        mean = np.mean([one[role] for one in by_chance])
        assert mean == pytest.approx(perfect[f"{role}_by_chance"], abs=0.03), role
    assert abs(np.mean([one["persons"] for one in by_chance])) < 0.05


def test_published_pose_subsets_are_told_by_the_size_of_the_yaw(tmp_path: Path) -> None:
    table = tiny.manifest(people=6, each=2).assign(split="test")
    over = np.arange(len(table)) % 3 == 0
    data = open_prepared(tiny.write_prepared(tmp_path / "set", table.assign(pose_over_30=over)))
    yaw = np.where(over, -50.0, 10.0)
    assert guesses.turned(data, pd.DataFrame({"yaw": yaw})) == {"pose_over_30": 1.0}
    assert guesses.turned(data, pd.DataFrame({"yaw": np.zeros(len(table))})) == {"pose_over_30": 0.5}


def test_estimates_are_made_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "runs"))
    kept = {}
    monkeypatch.setattr(estimates, "write", lambda *words: kept.setdefault("name", words) and "sfew-twin-smoke-1")
    name, told = guesses.estimate("sfew-twin", "smoke")
    table, dataset, preset, said = kept["name"]
    data = catalogue.prepare("sfew-twin", "smoke")
    assert name == "sfew-twin-smoke-1" and (dataset, preset) == ("sfew-twin", "smoke") and said == told
    assert table["sample"].tolist() == data.manifest["sample"].tolist() and table["yaw"].notna().all()
    assert told["data"] == data.hash and 0 <= told["quality"]["pose"] <= 1
    assert table["group"].nunique() == len(data) // guesses.EACH
    monkeypatch.setattr(regions, "prepared_root", lambda: tmp_path / "made")
    path = guesses.estimate_landmarks("sfew-twin", "smoke")
    test = data.manifest.query("split == 'test'")["sample"].to_numpy(str)
    points = regions.landmarks_of(test, "sfew-twin", "smoke")
    assert path.parent == tmp_path / "made" / "estimates" and points.shape == (len(test), 68, 2)
    assert np.allclose(guesses.yaws(points), table.set_index("sample").loc[test, "yaw"], atol=8)
