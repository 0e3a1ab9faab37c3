"""Where attention looks: against loops, and where the answer is known."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_records import record_of

from fercore import figures, records
from fercore.data import twin_designs, twins
from fercore.errors import DataError, RecordError
from fercore.figures import phanet as figures_phanet
from fercore.studies import regions

matplotlib.use("Agg")
TWIN = twin_designs.parameters("kdef-twin", "smoke", size=32)


@given(st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.05, 0.5))
@settings(max_examples=25, deadline=None)
def test_pixels_in_a_square_against_a_loop(x: float, y: float, half: float) -> None:
    masks = np.random.default_rng(0).random((1, 2, 8, 8)) < 0.4
    found = regions.inside(masks, np.array([[x, y, half]]))
    inner = [
        (row, column)
        for row in range(8)
        for column in range(8)
        if abs((row + 0.5) / 8 - y) < half and abs((column + 0.5) / 8 - x) < half
    ]
    assert found.tolist() == [[sum(masks[0, part, row, column] for row, column in inner) for part in (0, 1)]]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> records.Record:
    """A record of two people's images, whose S2 lies at the left upper corner and S3 in its middle."""
    rows = twin_designs.rows(TWIN)
    rows = rows[rows["subject"].isin(rows["subject"].unique()[:2]) & (rows["pan"] == 0)]
    places = np.tile([[0.25, 0.25, 0.25], [0.25, 0.25, 0.1]], (len(rows), 1, 1))
    made = record_of("1" * 10)
    made.recipe["image_size"] = 32
    made = made.model_copy(update={"data": made.data.model_copy(update={"made": {"parameters": TWIN.model_dump()}})})
    arrays = {"samples": rows["sample"].to_numpy(str), "subjects": rows["subject"].to_numpy(str)}
    return records.write(made, arrays | {"each_regions": places}, tmp_path_factory.mktemp("records"))


def test_parts_are_where_their_landmarks_are() -> None:
    rows = twin_designs.rows(TWIN).query("pan == 0").head(2)
    masks, middles = regions.parts(TWIN, rows)
    assert masks.shape == (2, 3, 32, 32) and masks.any((2, 3)).all()
    rows_of = {name: np.argwhere(masks[0, k])[:, 0].mean() for k, name in enumerate(regions.PARTS)}
    assert rows_of["brows"] < rows_of["eyes"] < 32 * middles[0, 1] < rows_of["mouth"]
    assert abs(np.argwhere(masks[0, 0])[:, 1].mean() / 32 - middles[0, 0]) < 0.1


def test_coverage_of_known_squares(record: records.Record) -> None:
    lines = regions.coverage(record)
    count = len(record.arrays()["samples"])
    assert len(lines) == count * 2 * len(regions.SQUARES) and set(lines["square"]) == set(regions.SQUARES)
    assert np.allclose(lines[list(regions.PARTS)].sum(axis=1), lines["all"]) and lines["all"].between(0, 100).all()
    of = lines.groupby(["scale", "square"])["mouth"].mean()
    assert of["S2", "attended"] < of["S2", "around the landmarks"], "a mouth is not in the upper left quarter"
    table = regions.with_intervals(lines)
    own = lines.query("scale == 'S3' and square == 'attended'")["all"].mean()
    assert table.set_index(["scale", "square"]).loc[("S3", "attended"), "share"] == pytest.approx(own)
    ahead = regions.ahead(lines, "S2", "around the landmarks", "mouth")
    assert ahead.value == pytest.approx(of["S2", "attended"] - of["S2", "around the landmarks"])
    assert regions.ahead(lines, "S2", "attended").value == 0
    some = regions.coverage(record, most=5)
    assert len(some) == 5 * 2 * len(regions.SQUARES)
    axes = figures_phanet.coverage(table)
    assert axes.figure.numbers.equals(table)


def test_parts_drawn_from_landmarks_are_those_of_the_rendered_face() -> None:
    """Where the truth is known, most of what is drawn lies on the part, or next to it, and the middle is the same."""
    rows = twin_designs.rows(TWIN).query("pan == 0").head(3)
    design = TWIN.model_copy(update={"size": 96})
    masks, middles = regions.parts(design, rows)
    points = np.stack(twins.render_rows(design, rows)[1]["landmarks"].to_list()).reshape(-1, 68, 2) / 96
    drawn, near = regions.drawn_parts(points, 96)
    assert drawn.shape == masks.shape and np.allclose(middles, near, atol=0.01)
    for k, part in enumerate(regions.PARTS):
        for one, own in zip(drawn[:, k], masks[:, k], strict=True):
            middle, true = (np.argwhere(mask).mean(0) for mask in (one, own))
            assert one.any() and np.abs(middle - true).max() < 4, part


def test_a_square_in_a_corner_touches_two_edges(tmp_path: Path) -> None:
    made = record_of("4" * 10)
    made.recipe["image_size"] = 32
    corner, edge, middle, near = [0.3, 0.7, 0.3], [0.3, 0.5, 0.3], [0.5, 0.5, 0.3], [0.32, 0.68, 0.3]
    places = np.array([[one, middle] for one in (corner, edge, middle, near)])
    record = records.write(made, {"each_regions": places}, tmp_path)
    assert regions.cornered(record) == 0.5, "two of four, one of them within a pixel"


def test_photographs_are_held_against_their_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A square around a mouth covers the mouth; landmarks come from a file that names what it lacks."""
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path))
    names = np.array(["fer1", "fer2"])
    points = np.full((2, 68, 2), 0.3)
    points[:, 48:60] = 0.7 + 0.1 * np.stack([np.cos(turn := np.arange(12) * np.pi / 6), np.sin(turn)], 1)
    made = record_of("3" * 10)
    real = made.data.model_copy(update={"real": True, "name": "fer-none"})
    made = made.model_copy(update={"data": real})
    places = np.tile([[0.7, 0.7, 0.1], [0.2, 0.8, 0.1]], (2, 1, 1))
    arrays = {"samples": names, "labels": np.array([0, 1]), "each_regions": places}
    record = records.write(made, arrays, tmp_path / "records")
    with pytest.raises(DataError, match=r"no estimated landmarks of fer-none(?s:.*)--landmarks"):
        regions.coverage(record)
    regions.keep_landmarks(names[:1], points[:1], "fer-none", made.recipe["preset"])
    with pytest.raises(DataError, match="no landmarks of fer2 and 0 more"):
        regions.coverage(record)
    regions.keep_landmarks(names[::-1], points, "fer-none", made.recipe["preset"])
    lines = regions.coverage(record).query("square == 'attended'").set_index(["scale", "subject"])
    assert lines.loc["S2", "mouth"].between(70, 95).all(), "a circle in its square"
    assert (lines.loc["S3", "all"] == 0).all() and "pan" not in lines


def test_a_record_without_regions_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="keeps no regions"):
        regions.squares(records.write(record_of("2" * 10), {"labels": np.zeros(3)}, tmp_path))


def test_a_region_is_cut_out_where_it_is() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[10:20, 20:30] = 255
    cut = figures_phanet.enlarged(picture, np.array([0.625, 0.375, 0.125]))
    assert cut.shape == picture.shape and cut[4:-4, 4:-4].min() > 200
    drawn = figures_phanet.through_scales(
        picture[None], {"s1": np.ones((1, 3, 3)), "s2": np.arange(9.0).reshape(1, 3, 3)},
        np.array([[[0.625, 0.375, 0.125]]]), ["one"],
    )  # fmt: skip
    assert drawn.numbers.values.tolist() == [["one", "S2", 0.625, 0.375, 0.125]]


def test_histories_are_drawn_as_they_are() -> None:
    rows = [
        {"epoch": k, "scale_1": 0.5 + k / 10, "scale_2": 0.5, "scale_3": 0.4, "validation_accuracy": k / 10,
         "train_loss": 1.0 / k, "lambda_e": 0.6, "lambda_p": 0.4}
        for k in (1, 2)
    ]  # fmt: skip
    drawn = figures_phanet.by_epoch(rows)
    assert drawn.numbers["scale_1"].tolist() == [0.6, 0.7] and drawn.numbers["train_loss"].tolist() == [1.0, 0.5]
    assert [line.get_ydata().tolist() for line in drawn.axes[2].lines] == [[10.0, 20.0]]
    assert figures_phanet.weighed({"a": rows}).numbers["lambda_p"].tolist() == [0.4, 0.4]
    figures.plt.close("all")
