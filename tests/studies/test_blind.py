"""The blind check of rendered expressions: faces, page, sheets, and the score by hand-counted answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import fercore
from PIL import Image

from fercore.data import twins
from fercore.data.twin_designs import parameters, rows
from fercore.errors import DataError, ParameterError
from fercore.figures import faces as figures_faces
from fercore.paths import reference_records
from fercore.studies import blind


@pytest.fixture(scope="module")
def faces() -> blind.Faces:
    return blind.draw("kdef-twin", 9, seed=3)


READ = sorted(path for path in (reference_records() / "blind-check").iterdir() if "-twin-" in path.name)


def test_faces_are_rows_of_the_test_part_under_their_labels(faces: blind.Faces) -> None:
    twin = parameters("kdef-twin", "paper", size=48)
    table = rows(twin).sample(9, random_state=np.random.default_rng([3, 48]))
    assert faces.images.shape == (9, 48, 48, 3) and faces.classes == twin.expressions
    assert faces.expressions == tuple(table["expression"])
    assert (twins.render_rows(twin, table.iloc[[4]])[0][0] == faces.images[4]).all()
    tested = set(rows(parameters("rafdb-twin", "paper")).query("split == 'test'")["expression"])
    assert set(blind.draw("rafdb-twin", 12).expressions) <= tested


def test_the_seed_decides_everything(faces: blind.Faces) -> None:
    again, other = blind.draw("kdef-twin", 9, seed=3), blind.draw("kdef-twin", 9, seed=4)
    assert (again.images == faces.images).all() and again.expressions == faces.expressions
    assert not (other.images == faces.images).all()


def test_images_of_a_real_set_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"expression": ["fear", "anger"] * 3, "split": ["train", "test"] * 3})
    images = np.arange(6 * 64 * 64 * 3, dtype=np.uint32).reshape(6, 64, 64, 3).astype(np.uint8)
    data = SimpleNamespace(manifest=table, images=images, classes=("anger", "fear"))
    monkeypatch.setattr(blind.catalogue, "prepare", lambda name: data)
    found = blind.draw("ferplus", 3, size=32)
    assert found.expressions == ("anger",) * 3 and found.images.shape == (3, 32, 32, 3)
    means = sorted(images[1::2].mean(axis=(1, 2, 3)))
    assert sorted(found.images.mean(axis=(1, 2, 3))) == pytest.approx(means, abs=1)
    with pytest.raises(ParameterError, match="4 faces of the 3"):
        blind.draw("ferplus", 4, size=32)


def test_the_page_needs_nothing_and_tells_nothing(faces: blind.Faces, tmp_path: Path) -> None:
    page = blind.write(tmp_path / "blind", faces).read_text()
    assert not re.search(r"https?://|src=\"(?!data:)", page)
    assert page.count("<button") == 7 and len(re.findall(r'"/9j/', page)) == 9
    listed = re.search(r"\[[\"a-z, ]*surprise[\"a-z, ]*\]", page)
    assert listed and listed[0] == json.dumps(sorted(faces.classes)), "names in their order, not the key"
    sheet = Image.open(tmp_path / "blind" / "sheet_1.png")
    assert sheet.size == (8 * 240, 2 * (240 + 22)), "five times as large, eight in a row, under their numbers"
    assert not (tmp_path / "blind" / "sheet_2.png").exists()
    key = pd.read_csv(tmp_path / "blind" / "key.csv")
    assert tuple(key["expression"]) == faces.expressions and list(key["face"]) == list(range(1, 10))
    with pytest.raises(DataError, match="is there already"):
        blind.write(tmp_path / "blind", faces)


def test_every_check_is_one_row(tmp_path: Path) -> None:
    folder = tmp_path / "kdef-twin-48"
    folder.mkdir()
    (folder / "key.csv").write_text("face,expression\n1,fear\n2,fear\n3,anger\n4,anger\n")
    (folder / "answers.csv").write_text("face,answer\n1,fear\n2,surprise\n3,anger\n4,anger\n")
    (row,) = blind.checks(tmp_path).to_dict("records")
    assert (row["data set"], row["size"], row["faces"], row["agreement"]) == ("kdef-twin", 48, 4, 75.0)
    assert 0 < row["low"] < 75 < row["high"] < 100 and row["most often mistaken"] == "fear as surprise"


def test_a_score_by_hand(tmp_path: Path) -> None:
    key, answers = tmp_path / "key.csv", tmp_path / "answers.csv"
    key.write_text("face,expression\n1,fear\n2,fear\n3,anger\n4,anger\n5,fear\n")
    answers.write_text("face,answer\n4,anger\n1,fear\n2,anger\n3,anger\n5,\n")
    found = blind.score(answers, key)
    assert found.share == 3 / 4, "the fifth face has no answer"
    assert found.confusion.loc["fear"].to_dict() == {"anger": 1, "fear": 1}
    assert found.confusion.loc["anger"].to_dict() == {"anger": 2, "fear": 0}
    z = 1.959964  # Wilson's interval, written out
    middle, half = (0.75 + z * z / 8) / (1 + z * z / 4), z * np.sqrt(0.75 * 0.25 / 4 + z * z / 64) / (1 + z * z / 4)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


@pytest.mark.parametrize("folder", READ, ids=lambda folder: folder.name)
def test_what_was_read_is_what_the_twins_are_now(folder: Path, tmp_path: Path) -> None:
    assert blind.is_of_this_twin(folder), "the twin has been designed anew: read it again, fercore blind make"
    key = (folder / "key.csv").read_text().splitlines()
    (other := tmp_path / folder.name).mkdir()
    (other / "key.csv").write_text("\n".join([key[0], *key[:1:-1], key[1]]))
    assert not blind.is_of_this_twin(other)


def test_the_ranges_are_those_of_the_twins() -> None:
    rows = [
        ("a-twin", 224, 90.0),
        ("a-twin", 48, 60.0),
        ("b-twin", 112, 70.0),
        ("b-twin", 48, 50.0),
        ("real", 48, 10.0),
    ]
    table = pd.DataFrame(rows, columns=["data set", "size", "agreement"])
    assert blind.ranges(table) == {"least": 70, "most": 90, "small_least": 50, "small_most": 60}


def test_the_figure_orders_data_sets_by_what_is_named_at_48_pixels() -> None:
    rows = [("a", 48, 80.0), ("a", 224, 90.0), ("b", 48, 50.0)]
    table = pd.DataFrame(rows, columns=["title", "size", "agreement"])
    axes = figures_faces.named(table.assign(low=table["agreement"] - 5, high=table["agreement"] + 5), 82.0)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "a"]
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {"48 pixels", "as large as the real images"}
    assert list(axes.figure.numbers["agreement"]) == [80, 90, 50]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("face,label\n1,fear\n", "has no column 'answer'"),
        ("face,answer\n1,boredom\n", "holds 'boredom'.*\n.*happiness, surprise"),
        ("face,answer\n1,fear\n1,fear\n", "answers a face twice"),
        ("face,answer\n7,fear\n", "answers none of the faces"),
        ("face,answer\n1,fear\n7,fear\n", "or one that"),
    ],
)
def test_bad_answers_are_named(answers: str, message: str, tmp_path: Path) -> None:
    key, given = tmp_path / "key.csv", tmp_path / "answers.csv"
    key.write_text("face,expression\n1,fear\n2,anger\n")
    given.write_text(answers)
    with pytest.raises(DataError, match=message):
        blind.score(given, key)


def test_an_answer_that_no_face_deserves_counts(tmp_path: Path) -> None:
    key, answers = tmp_path / "key.csv", tmp_path / "answers.csv"
    key.write_text("face,expression\n1,fear\n2,anger\n")
    answers.write_text("face,answer\n1,surprise\n2,anger\n")
    found = blind.score(answers, key)
    assert found.share == 0.5 and found.confusion.loc["fear", "surprise"] == 1


@pytest.mark.parametrize(("number", "size"), [(0, 48), (5, 8), (5, 5000)])
def test_impossible_draws(number: int, size: int) -> None:
    with pytest.raises(ParameterError, match=f"{number} faces of {size} pixels"):
        blind.draw("kdef-twin", number, size=size)


def test_from_the_command_line(tmp_path: Path) -> None:
    made = fercore("blind", "make", tmp_path / "faces", "--dataset", "rafdb-twin", "--number", 2)
    assert made.returncode == 0 and "faces.html" in made.stdout, made.stderr
    key = (tmp_path / "faces" / "key.csv").read_text()
    (tmp_path / "mine.csv").write_text(key.replace("expression", "answer"))
    scored = fercore("blind", "score", tmp_path / "mine.csv", tmp_path / "faces" / "key.csv")
    assert scored.stdout.splitlines()[-1].startswith("agreement 100.0 % [34.2, 100.0]"), scored.stdout
    assert fercore("blind", "score", tmp_path / "no.csv", tmp_path / "faces" / "key.csv").returncode == 2
