"""The list of equations: complete for every paper that is written, and its tests are those that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from fercore import paths, published
from fercore.book import equations

FOUND, DECLARED = equations.implementations(), equations.tests()
LISTED = {
    f"{name} {one}": (paths.ROOT / "fercore" / "papers" / f"{paper}.py").is_file()
    for paper, name in published.PAPERS.items()
    for one in published.ABOUT[paper]["equations"]
}
"""Every equation, and whether its paper is written."""


@pytest.mark.parametrize("key", [key for key, written in LISTED.items() if written])
def test_every_equation_of_a_written_paper_has_an_object_and_a_test(key: str) -> None:
    assert FOUND.get(key), "begin the docstring of what implements it with its name and its formula"
    assert all("=" in place.formula for place in FOUND[key]), "a formula, not words"
    assert DECLARED.get(key), f'mark a test with @pytest.mark.equation("{key}")'


def test_nothing_is_declared_of_what_there_is_not() -> None:
    assert DECLARED.keys() <= LISTED.keys() | FOUND.keys(), "a mark that names no equation"
    of_papers = {key for key in FOUND if key.partition(" ")[0] in published.PAPERS.values()}
    assert of_papers <= LISTED.keys(), "a docstring that names none"


def test_the_papers_have_as_many_equations_as_they_print() -> None:
    counts = {paper: len(published.ABOUT[paper]["equations"]) for paper in published.PAPERS}
    assert counts == {"pata": 8, "phanet": 10, "lan": 6, "dmlnet": 10, "pcda": 11}, "PATA's displays are lost: ours"


def test_a_mark_and_a_docstring_are_all_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "fercore").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        'import pytest\n\n\n@pytest.mark.equation("LAN Eq. (1)", "LAN Eq. (2)")\ndef test_both():\n    pass\n\n\n'
        "def test_eq1_by_name_alone():\n    pass\n"
    )
    (tmp_path / "fercore" / "lan.py").write_text(
        'def attend():\n    """LAN Eq. (1): ``a = b *\n    c``."""\n\n\ndef other():\n    """As in LAN Eq. (2)."""\n'
    )
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(equations, "ROOT", tmp_path)
    assert equations.tests() == {f"LAN Eq. ({k})": ["test_it.py::test_both"] for k in (1, 2)}
    assert equations.implementations() == {"LAN Eq. (1)": [equations.Place("a = b * c", "attend", "fercore/lan.py", 1)]}
