"""Which rows a run sees: thinned, oversampled, without a class; and the subsets that are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import manifest, write_prepared

from fercore.data import parts, protocols
from fercore.data.prepared import Prepared, open_prepared
from fercore.papers import lan


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "stripes", manifest(12, 2)))


def test_thinned_rows_are_a_seeded_subset() -> None:
    rows = np.arange(100, 200)
    recipe = lan.recipe("smoke", images=30)
    assert parts.thinned(rows, recipe.but(images=0)) is rows and parts.thinned(rows, recipe.but(images=100)) is rows
    first = parts.thinned(rows, recipe)
    assert len(set(first)) == 30 and set(first) <= set(rows) and (np.diff(first) > 0).all()
    assert np.array_equal(first, parts.thinned(rows, recipe))
    assert not np.array_equal(first, parts.thinned(rows, recipe.but(seed=1)))


def test_the_rows_are_those_of_the_recipe_s_protocol_and_fold(data: Prepared) -> None:
    for protocol, fold in (("lan-kdef-10fold", 0), ("lan-kdef-10fold", 7), ("phanet-kdef", 3)):
        found = parts.parts_of(lan.recipe("smoke", protocol=protocol, fold=fold), data)
        expected = protocols.split(data.manifest, protocol, fold)
        assert {name: rows.tolist() for name, rows in found.items()} == {n: r.tolist() for n, r in expected.items()}


def test_a_share_is_of_what_is_trained_and_validated_on_not_of_the_test(data: Prepared) -> None:
    whole, half = (parts.parts_of(lan.recipe("smoke", share=share), data) for share in (1.0, 0.5))
    assert {name: len(rows) for name, rows in half.items()} == {
        "train": round(len(whole["train"]) / 2),
        "validation": round(len(whole["validation"]) / 2),
        "test": len(whole["test"]),
    }
    assert all(set(half[name]) <= set(whole[name]) for name in whole)
    other = parts.parts_of(lan.recipe("smoke", share=0.5, seed=1), data)
    assert set(other["train"]) != set(half["train"]) and np.array_equal(other["test"], half["test"])
    least = parts.parts_of(lan.recipe("smoke", share=0.001), data)
    assert len(least["train"]) == len(least["validation"]) == 2


def test_a_class_that_is_left_out_is_in_no_part(data: Prepared) -> None:
    recipe = lan.recipe("smoke", leave_out="happiness")
    whole = parts.parts_of(recipe.but(leave_out=""), data)
    without = parts.parts_of(recipe, data.leaving_out("happiness"))
    names = data.manifest["expression"].to_numpy()
    for name, rows in without.items():
        assert rows.tolist() == whole[name][names[whole[name]] != "happiness"].tolist()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_oversampling_gives_every_class_as_many(labels: list[int], seed: int) -> None:
    own = np.array(labels)
    rows = parts.oversampled(np.arange(len(own)), own, seed)
    counts = np.bincount(own[rows], minlength=5)
    assert set(counts) <= {0, np.bincount(own).max()} and set(rows) == set(range(len(own))), "no image is left out"
    twice = np.bincount(rows)
    assert all(np.ptp(twice[own == label]) <= 1 for label in set(labels)), "and none much more often than another"


def test_only_what_is_trained_on_is_oversampled(tmp_path: Path) -> None:
    table = manifest(12, 4)
    table = table[(table["expression"] == "neutral") | (table.index % 5 == 0)].reset_index(drop=True)
    data = open_prepared(write_prepared(tmp_path / "uneven", table))
    plain, even = (parts.parts_of(lan.recipe("smoke", oversample=on), data) for on in (False, True))
    counts = np.bincount(data.labels()[even["train"]])
    assert len(set(counts)) == 1 and counts[0] == np.bincount(data.labels()[plain["train"]]).max()
    assert all(np.array_equal(even[name], plain[name]) for name in ("validation", "test"))
    others = [parts.parts_of(lan.recipe("smoke", oversample=True, seed=seed), data)["train"] for seed in (0, 1, 2)]
    assert len({tuple(sorted(rows)) for rows in others}) > 1, "which ones are repeated depends on the seed"


def test_pans_are_subsets_where_cameras_stood() -> None:
    class Fixed:
        manifest = manifest(4, 30)

    rows = np.arange(len(Fixed.manifest))
    Fixed.manifest["pan"] = np.resize([-90.0, 0.0, 90.0], len(rows))
    assert list(parts.subsets(Fixed, rows)) == ["test", "pan_-90", "pan_+0", "pan_+90"]
    for pans, told_apart in ((parts.MOST_PANS, True), (parts.MOST_PANS + 1, False)):
        Fixed.manifest["pan"] = np.resize(np.arange(pans, dtype=float), len(rows))
        assert len(parts.subsets(Fixed, rows)) == 1 + told_apart * pans


def test_a_subset_is_of_the_rows_that_are_tested() -> None:
    class Marked:
        manifest = manifest(4, 30)

    Marked.manifest["pose_over_30"] = np.arange(len(Marked.manifest)) % 3 == 0
    Marked.manifest["pose_over_45"] = np.arange(len(Marked.manifest)) < 5
    found = parts.subsets(Marked, np.array([9, 3, 7, 200]))
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "test": [True] * 4, "pose_over_30": [True, True, False, False], "pose_over_45": [False, True, False, False],
    }  # fmt: skip
    assert "pose_over_45" not in parts.subsets(Marked, np.array([9, 7])), "none of them is turned so far"
