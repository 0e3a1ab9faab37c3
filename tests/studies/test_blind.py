"""The blind check of rendered expressions: faces, page, sheets, and the score by hand-counted answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import fercore

from fercore.errors import DataError, ParameterError
from fercore.studies import blind


@pytest.fixture(scope="module")
def faces() -> blind.Faces:
    return blind.draw(9, seed=3, size=48, expressions=("happiness", "anger", "surprise"))


def test_every_class_is_drawn_equally_often(faces: blind.Faces) -> None:
    assert faces.images.shape == (9, 48, 48, 3)
    assert sorted(faces.expressions) == ["anger"] * 3 + ["happiness"] * 3 + ["surprise"] * 3
    assert len({image.tobytes() for image in faces.images}) == 9


def test_the_seed_decides_everything(faces: blind.Faces) -> None:
    again = blind.draw(9, seed=3, size=48, expressions=("happiness", "anger", "surprise"))
    other = blind.draw(9, seed=4, size=48, expressions=("happiness", "anger", "surprise"))
    assert (again.images == faces.images).all() and again.expressions == faces.expressions
    assert not (other.images == faces.images).all()


def test_the_page_needs_nothing_and_tells_nothing(faces: blind.Faces, tmp_path: Path) -> None:
    page = blind.write(tmp_path / "blind", faces).read_text()
    assert not re.search(r"https?://|src=\"(?!data:)", page)
    assert page.count("<button") == 3 and len(re.findall(r'"/9j/', page)) == 9
    listed = re.search(r"\[[\"a-z, ]*surprise[\"a-z, ]*\]", page)
    assert listed and listed[0] == '["anger", "happiness", "surprise"]', "names in their order, not the key"
    assert (tmp_path / "blind" / "sheet_1.png").is_file() and not (tmp_path / "blind" / "sheet_2.png").exists()
    key = pd.read_csv(tmp_path / "blind" / "key.csv")
    assert tuple(key["expression"]) == faces.expressions and list(key["face"]) == list(range(1, 10))
    with pytest.raises(DataError, match="is there already"):
        blind.write(tmp_path / "blind", faces)


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


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("face,label\n1,fear\n", "has no column 'answer'"),
        ("face,answer\n1,boredom\n", "holds 'boredom'.*\n.*anger, fear"),
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


def test_impossible_draws() -> None:
    with pytest.raises(ParameterError, match="0 faces"):
        blind.draw(0)
    with pytest.raises(ParameterError, match="'boredom'"):
        blind.draw(1, expressions=("boredom",))


def test_from_the_command_line(tmp_path: Path) -> None:
    made = fercore("blind", "make", tmp_path / "faces", "--number", 2)
    assert made.returncode == 0 and "faces.html" in made.stdout, made.stderr
    key = (tmp_path / "faces" / "key.csv").read_text()
    (tmp_path / "mine.csv").write_text(key.replace("expression", "answer"))
    scored = fercore("blind", "score", tmp_path / "mine.csv", tmp_path / "faces" / "key.csv")
    assert scored.stdout.splitlines()[-1].startswith("agreement 100.0 % [34.2, 100.0]"), scored.stdout
    assert fercore("blind", "score", tmp_path / "no.csv", tmp_path / "faces" / "key.csv").returncode == 2
