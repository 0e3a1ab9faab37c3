"""Data cards: every twin has one, and what it says is what its design makes."""

from __future__ import annotations

import re

import pytest

from fercore.book import cards
from fercore.data import twin_designs
from fercore.data.twin_rows import Twin, at_hardness
from fercore.errors import ParameterError
from fercore.paths import ROOT
from fercore.studies import calibration

BIBLIOGRAPHY = (ROOT / "book" / "references.bib").read_text()


@pytest.mark.parametrize("name", twin_designs.DESIGNS)
def test_a_card_says_what_the_design_makes(name: str) -> None:
    page, design = cards.card_page(name), twin_designs.design_of(name)
    rows = twin_designs.rows(design.presets["paper"])
    assert f"| paper | {rows['subject'].nunique():,} | {len(rows):,} |" in page
    for expression, count in rows["expression"].value_counts().items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {expression} |"))
        assert sum(int(cell.replace(",", "")) for cell in re.findall(r"[\d,]+", line)) == count
    assert all(note in page for note in (*design.notes, *twin_designs.GENERAL, design.purpose, design.calibration))
    assert all(
        f"@article{{{key}," in BIBLIOGRAPHY or f"{{{key}," in BIBLIOGRAPHY for key in re.findall(r"{cite}`(\w+)`", page)
    )


def test_every_parameter_is_on_the_card() -> None:
    grouped = {name for names in cards.GROUPS.values() for name in names}
    assert grouped == set(Twin.model_fields) - {"name", "seed"}
    page = cards.card_page("sfew-twin")
    assert all(re.search(rf"^\| {name} \|", page, re.MULTILINE) for name in grouped)


def test_tables_have_as_many_cells_in_every_row() -> None:
    for name in twin_designs.DESIGNS:
        widths: dict[int, int] = {}
        for line in cards.card_page(name).splitlines():
            if line.startswith("|"):
                widths[line.count("|")] = widths.get(line.count("|"), 0) + 1
        assert all(count >= 2 for count in widths.values()), (name, widths)


def test_hardness_is_one_number_for_three_parameters() -> None:
    default = Twin(name="kdef-twin", people=2)
    assert at_hardness(0.5) == {"jitter": default.jitter, "drop": default.drop, "stray": default.stray}
    assert set(at_hardness(0).values()) == {0}
    for hardness in (-0.1, 2.1, float("nan")):
        with pytest.raises(ParameterError, match="hardness"):
            at_hardness(hardness)


def test_a_calibration_is_of_the_hardness_that_the_twin_has() -> None:
    found = {name: re.search(r"hardness, ([\d.]+)", d.calibration) for name, d in twin_designs.DESIGNS.items()}
    assert {"kdef-twin"} <= {name for name, match in found.items() if match} <= set(calibration.TARGETS)
    for name, match in found.items():
        for preset in ("smoke", "quick", "paper") if match else ():
            assert calibration.taken(name, preset) == float(match[1]), (name, preset)
