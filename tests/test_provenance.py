"""The hash of code: what it is free of, and what it sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from fercore import provenance

SOURCE = (
    '"""What it is."""\nimport math\n\n\ndef area(r):\n    """Of a circle."""\n    return math.pi * r**2  # round\n'
)


def hash_of(folder: Path, **files: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return provenance.code_hash((), files=[folder / f"{name}.py" for name in files])


def test_where_a_file_lies_does_not_count(tmp_path: Path) -> None:
    one = hash_of(tmp_path / "a", first=SOURCE, second="x = 1\n")
    assert hash_of(tmp_path / "b", other="x = 1\n", first=SOURCE) == one
    assert hash_of(tmp_path / "c", first=SOURCE, second="x = 1\n", empty='"""Only words."""\n') == one
    assert hash_of(tmp_path / "d", first=SOURCE) != one


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("# round", "# a comment", False),
        ("Of a circle.", "Of a disc.", False),
        ("import math", "import math\nfrom pathlib import Path", False),
        ("import math", "import cmath as math", True),
        ("\n\n\ndef", "\n\ndef", False),
        ("r**2", "r**3", True),
        ("area", "volume", True),
    ],
)
def test_what_counts(tmp_path: Path, before: str, after: str, counts: bool) -> None:
    same = hash_of(tmp_path / "a", it=SOURCE) == hash_of(tmp_path / "b", it=SOURCE.replace(before, after))
    assert same is not counts


def test_a_paper_goes_through_the_loop_the_run_and_itself_alone() -> None:
    assert len({provenance.code_of(name) for name in ("lan", "pcda", "baselines", "arcface", "landmarks")}) == 5
